/** The domain under which all strings of this extension are translated. */
export const TRANSLATION_DOMAIN = 'jupyter_ffdl';

/** The commands of this extension. */
export namespace CommandIDs {
  /** Show the versions of both halves, and what to do when they do not fit. */
  export const showVersion = 'ffdl:show-version';
}
