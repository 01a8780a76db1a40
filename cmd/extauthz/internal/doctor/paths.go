package doctor

import (
	"net/url"
	"path"
	"slices"
	"strings"

	"extauthz/cmd/extauthz/internal/settings"
)

// defaultAuthPath is where Better Auth answers, unless its base URL has another path.
const defaultAuthPath = "/api/auth/"

// AuthPaths are the prefixes that are Better Auth's own by the settings: it judges itself what comes there, and to sign
// up or in nobody has a token yet. They end in a slash.
func AuthPaths(s *settings.Settings) []string {
	paths := []string{defaultAuthPath}
	add := func(text string, isJWKS bool) {
		parsed, err := url.Parse(text)
		if err != nil || parsed.Host == "" {
			return
		}
		folder := parsed.Path
		if isJWKS {
			folder = path.Dir(folder)
		}
		if folder = strings.Trim(folder, "/"); folder != "" && folder != "." {
			paths = append(paths, "/"+folder+"/")
		}
	}
	for _, i := range s.Each() {
		add(i.Config.Issuer, false)
		add(i.Config.JWKSURL, true)
	}
	slices.Sort(paths)
	return slices.Compact(paths)
}
