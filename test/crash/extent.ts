/**
 * How often a matrix kills. By itself each transition is killed once in the home that goes through all of them, in ways
 * that change from one to the next; with `npm run test:kills` three times there, and in homes of its own in its effect, before
 * its record and after it, which takes four times as long.
 */
export const extent = process.env.INSTAR_KILLS === 'all' ? {} : { sparing: true, atRandom: 5 }
