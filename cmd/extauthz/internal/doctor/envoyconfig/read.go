package envoyconfig

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"extauthz/cmd/extauthz/internal/discreet"
)

// maxBytes bounds what is read of Envoy's configuration; a mesh's whole dump has a few MiB.
const maxBytes = 64 << 20

// readTime bounds how long Envoy's admin address may take.
const readTime = 5 * time.Second

// Read returns the documents of a file, or the one that Envoy's admin address gives.
func Read(ctx context.Context, where string) (documents []any, err error) {
	content, err := readBounded(ctx, where)
	if err != nil {
		return nil, err
	}
	var document any
	if json.Unmarshal(content, &document) == nil {
		return []any{document}, nil
	}
	for decoder := yaml.NewDecoder(bytes.NewReader(content)); ; {
		var document any
		switch err := decoder.Decode(&document); {
		case errors.Is(err, io.EOF):
			return documents, nil
		case err != nil:
			return nil, fmt.Errorf("it is not YAML (a template must be rendered first): %w", err)
		}
		documents = append(documents, plain(document))
	}
}

func readBounded(ctx context.Context, where string) ([]byte, error) {
	var from io.ReadCloser
	if strings.HasPrefix(where, "http://") || strings.HasPrefix(where, "https://") {
		target, err := url.Parse(where)
		if err != nil {
			return nil, errors.New("it is not a URL")
		}
		// The admin interface may stand behind a path; a whole address of a dump is taken as it is.
		if target.Path = strings.TrimRight(target.Path, "/"); !strings.HasSuffix(target.Path, "/config_dump") {
			target.Path += "/config_dump"
		}
		ctx, cancel := context.WithTimeout(ctx, readTime)
		defer cancel()
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
		if err != nil {
			return nil, err
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return nil, discreet.WithoutURL(err)
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return nil, fmt.Errorf("%s gives %s", target.Path, response.Status)
		}
		from = response.Body
	} else {
		file, err := os.Open(where)
		if err != nil {
			return nil, discreet.PathFault(where, err)
		}
		defer file.Close()
		from = file
	}
	content, err := io.ReadAll(io.LimitReader(from, maxBytes+1))
	if err == nil && len(content) > maxBytes {
		err = fmt.Errorf("it has more than %d MiB", maxBytes>>20)
	}
	return content, err
}

// plain gives YAML the form that JSON has: names are texts.
func plain(value any) any {
	switch value := value.(type) {
	case map[any]any:
		named := make(map[string]any, len(value))
		for name, item := range value {
			named[fmt.Sprint(name)] = plain(item)
		}
		return named
	case map[string]any:
		for name, item := range value {
			value[name] = plain(item)
		}
	case []any:
		for i, item := range value {
			value[i] = plain(item)
		}
	}
	return value
}
