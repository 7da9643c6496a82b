// A node that dies of what the relay sends fails the run, whichever test is on at that moment.

const uncaught = new Set()
process.on('uncaughtException', error => uncaught.add(String(error?.stack ?? error)))
process.on('unhandledRejection', error => uncaught.add(String(error?.stack ?? error)))

/** What would have ended a node's process. */
export const died = () => [...uncaught]

// The packages write every dropped connection to the console.
for (const level of ['debug', 'info', 'warn', 'error']) console[level] = () => {}
