// Generated from package.json by `make generate`: change the version there.
export const VERSION = '0.1.0';
