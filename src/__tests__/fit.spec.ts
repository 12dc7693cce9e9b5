import { nullTranslator } from '@jupyterlab/translation';

import { describeFit } from '../fit';

const trans = nullTranslator.load('jupyter_ffdl');

describe('how the two halves fit', () => {
  it('is said in one sentence when they are the same', () => {
    const fit = describeFit(
      '1.2.3',
      { found: 'answers', version: '1.2.3' },
      trans
    );
    expect(fit).toEqual({ sentence: 'Both parts fit.' });
  });

  it.each([
    ['0.9.0', '0.10.0', '0.10.0'],
    ['0.10.0', '0.9.0', '0.10.0'],
    ['1.0.0', '0.99.0', '1.0.0']
  ])('asks for the newer of %s and %s', (extension, version, wanted) => {
    const fit = describeFit(extension, { found: 'answers', version }, trans);
    expect(fit.sentence).toContain(version);
    expect(fit.command).toBe(`pip install jupyter-ffdl==${wanted}`);
  });

  it('names the command that enables an absent server part', () => {
    const fit = describeFit('1.2.3', { found: 'absent' }, trans);
    expect(fit.command).toContain(
      'jupyter server extension enable jupyter_ffdl'
    );
  });

  it('offers no command after a logout, because none helps', () => {
    const fit = describeFit('1.2.3', { found: 'refused' }, trans);
    expect(fit.command).toBeUndefined();
    expect(fit.sentence).toContain('log in');
  });

  it('gives the reason when the server part fails', () => {
    const fit = describeFit(
      '1.2.3',
      { found: 'failing', reason: '502 Bad Gateway' },
      trans
    );
    expect(fit.sentence).toContain('502 Bad Gateway');
  });
});
