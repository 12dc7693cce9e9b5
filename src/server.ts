import { URLExt } from '@jupyterlab/coreutils';
import { ServerConnection } from '@jupyterlab/services';

import type { components } from './wire';

type Capabilities = components['schemas']['Capabilities'];

/** What a look at the server part found. */
export type ServerPart =
  | { found: 'answers'; version: string }
  /** The Jupyter server answers, but knows no `ffdl/`. */
  | { found: 'absent' }
  /** The Jupyter server refuses this browser, for example after a logout. */
  | { found: 'refused' }
  /** It is there but failed, or nothing answered at all. */
  | { found: 'failing'; reason: string };

/**
 * Ask the server part which version it is.
 * Never rejects: every outcome is something to show.
 */
export async function findServerPart(
  settings: ServerConnection.ISettings
): Promise<ServerPart> {
  const url = URLExt.join(settings.baseUrl, 'ffdl', 'v1', 'capabilities');
  try {
    const response = await ServerConnection.makeRequest(url, {}, settings);
    switch (response.status) {
      case 200: {
        const { version } = (await response.json()) as Capabilities;
        return { found: 'answers', version };
      }
      case 401:
      case 403:
        return { found: 'refused' };
      case 404:
        return { found: 'absent' };
      default:
        return {
          found: 'failing',
          reason: `${response.status} ${response.statusText}`
        };
    }
  } catch (error) {
    return { found: 'failing', reason: String(error) };
  }
}
