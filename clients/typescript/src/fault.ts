// What is wrong with a server.

/** The server does not answer as a hub does. Trying again does not help: the address is wrong, or the hub has a fault. */
export class FaultError extends Error {
  override readonly name = "FaultError";
}

/** What `parse` returns. Throws FaultError when it throws. */
export function readable<T>(parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    throw new FaultError("the hub sent a message that cannot be read", { cause: error });
  }
}
