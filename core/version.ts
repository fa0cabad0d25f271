/** The version of Postern that this is; a test keeps it equal to package.json. */
export const VERSION = '0.1.0'
/** The version of the table's shape that this release writes (functions/store/migrations.ts). */
export const TABLE_VERSION = 1
