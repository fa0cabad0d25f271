/** What the agent takes from its environment. */
export type Env = Readonly<Record<string, string | undefined>>
