import type {
  JupyterFrontEnd,
  JupyterFrontEndPlugin
} from '@jupyterlab/application';
import { Dialog, ICommandPalette, showDialog } from '@jupyterlab/apputils';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';
import * as React from 'react';

import { describeFit, type IFit } from './fit';
import { findServerPart } from './server';
import { CommandIDs, TRANSLATION_DOMAIN } from './tokens';
import { VERSION } from './version';

/** A command that names the versions of both halves and how they fit. */
export const versionPlugin: JupyterFrontEndPlugin<void> = {
  id: 'jupyter-ffdl:version',
  description:
    'Shows which versions of the extension and of its server part run.',
  autoStart: true,
  optional: [ICommandPalette, ITranslator],
  activate: (
    app: JupyterFrontEnd,
    palette: ICommandPalette | null,
    translator: ITranslator | null
  ) => {
    const trans = (translator ?? nullTranslator).load(TRANSLATION_DOMAIN);

    app.commands.addCommand(CommandIDs.showVersion, {
      label: trans.__('Show FfDL Version'),
      caption: trans.__(
        'Show the versions of the extension and of its server part'
      ),
      describedBy: { args: { type: 'object', properties: {} } },
      execute: async () => {
        const server = await findServerPart(app.serviceManager.serverSettings);
        const fit = describeFit(VERSION, server, trans);
        await showDialog({
          title: trans.__('FfDL for JupyterLab %1', VERSION),
          body: <Fit {...fit} />,
          buttons: [Dialog.okButton({ label: trans.__('Close') })]
        });
      }
    });
    palette?.addItem({
      command: CommandIDs.showVersion,
      category: trans.__('FfDL Trainings')
    });
  }
};

function Fit({ sentence, command }: IFit): React.JSX.Element {
  return (
    <div className="jp-ffdl-Version">
      <p>{sentence}</p>
      {command !== undefined && (
        <pre className="jp-ffdl-Version-command">{command}</pre>
      )}
    </div>
  );
}
