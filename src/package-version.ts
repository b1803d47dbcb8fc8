/** Of this code. Written here because a bundle has no manifest of ours to look into; `npm version` keeps the two alike. */
export const packageVersion = '0.1.0'
