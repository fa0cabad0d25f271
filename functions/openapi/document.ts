/** placeholder */
export const openapiDocument = (version: string): object => ({
  openapi: '3.1.0',
  info: { version },
})
