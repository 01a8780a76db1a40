// Package spelling finds the name that somebody may have meant. It imports nothing and does not know what is named.
package spelling

import "strings"

// DidYouMean names the nearest of the names when it is near.
func DidYouMean(name string, names []string) string {
	if near := Nearest(name, names); near != "" {
		return "; did you mean " + near + "?"
	}
	return ""
}

// Nearest is the nearest of the names by its letters or as a part of it, or nothing when none is near.
func Nearest(name string, names []string) string {
	near, least := "", len(name)/3+2
	for _, candidate := range names {
		distance := EditDistance(strings.ToLower(name), candidate)
		if len(name) > 3 && strings.Contains(candidate, strings.ToLower(name)) {
			distance = 1
		}
		if distance < least {
			near, least = candidate, distance
		}
	}
	return near
}

// EditDistance is how many bytes must be changed, added or left out to make b of a (Levenshtein).
func EditDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
