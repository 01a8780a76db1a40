//go:build race

package extauthz

// raceEnabled tells tests that the race detector makes everything ten times slower.
const raceEnabled = true
