import type { TranslationBundle } from '@jupyterlab/translation';

import type { ServerPart } from './server';

/** How the two halves fit: a sentence, and the commands, one a line, that mend it. */
export interface IFit {
  sentence: string;
  command?: string;
}

/** Say how the extension in the browser fits the server part, and what to do if not. */
export function describeFit(
  extension: string,
  server: ServerPart,
  trans: TranslationBundle
): IFit {
  switch (server.found) {
    case 'answers':
      return server.version === extension
        ? { sentence: trans.__('Both parts fit.') }
        : {
            sentence: trans.__(
              'The server part is version %1. Install one version for both, restart Jupyter and reload this page:',
              server.version
            ),
            command: `pip install jupyter-ffdl==${newer(extension, server.version)}`
          };
    case 'absent':
      return {
        sentence: trans.__(
          'The server part does not run in this Jupyter server. Enable it in the environment of the server, then restart Jupyter:'
        ),
        command:
          'pip install jupyter-ffdl\njupyter server extension enable jupyter_ffdl'
      };
    case 'refused':
      return {
        sentence: trans.__(
          'The Jupyter server no longer knows this browser. Reload this page and log in again.'
        )
      };
    case 'failing':
      return {
        sentence: trans.__(
          'The server part did not answer (%1). Its own checks may say why:',
          server.reason
        ),
        command: 'jupyter server extension list'
      };
  }
}

function newer(one: string, other: string): string {
  const inOrder = new Intl.Collator('en', { numeric: true });
  return inOrder.compare(one, other) >= 0 ? one : other;
}
