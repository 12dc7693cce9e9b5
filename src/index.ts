import { versionPlugin } from './versionPlugin';

export default [versionPlugin];
