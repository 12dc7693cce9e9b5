// Packages that ship ES modules only: jest runs CommonJS, so these are translated too.
const esm = [
  '@codemirror',
  '@jupyter',
  '@jupyterlab',
  '@lezer',
  '@lumino',
  '@marijn',
  '@microsoft',
  '@rjsf',
  'crelt',
  'delaunator',
  'exenv-es6',
  'lib0',
  'lodash-es',
  'nanoid',
  'style-mod',
  'vscode-ws-jsonrpc',
  'w3c-keyname',
  'y-protocols',
  'y-websocket',
  'yjs'
].join('|');

module.exports = {
  testEnvironment: 'node',
  testMatch: ['<rootDir>/src/**/__tests__/*.spec.ts?(x)'],
  roots: ['<rootDir>/src'],
  // labextension/ holds a second package.json of the same name.
  modulePathIgnorePatterns: ['<rootDir>/labextension', '<rootDir>/build'],
  transform: { '\\.[jt]sx?$': ['ts-jest', { tsconfig: 'tsconfig.test.json' }] },
  transformIgnorePatterns: [`/node_modules/(?!(${esm})/)`]
};
