package lines

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"syscall"
)

// File is a file of lines. A line that was cut short, be it by a full disk or by a process that died, is ended
// before the next one begins, so that it spoils itself only. Several may share one for a stream that is the same for
// all of them, as standard output and standard error often are one pipe: no line gets into another's middle. All
// methods are safe for concurrent use.
type File struct {
	mu   sync.Mutex
	file io.Writer
	torn bool     // its last line has no end
	own  *os.File // to be closed; nil for a standard stream
}

// NewFile makes one of a stream that stays open, as the standard ones do.
func NewFile(stream io.Writer) *File { return &File{file: stream} }

// Write implements [io.Writer]. It may block.
func (f *File) Write(lines []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.torn {
		if _, err := f.file.Write(newline); err != nil {
			return 0, err
		}
		f.torn = false
	}
	written, err := f.file.Write(lines)
	if written > 0 && written < len(lines) {
		f.torn = lines[written-1] != '\n'
	}
	return written, err
}

// Close closes a file that was opened for this, and leaves a standard stream open.
func (f *File) Close() error {
	if f.own == nil {
		return nil
	}
	return f.own.Close()
}

// Open opens a file for lines behind those that it holds. A FIFO that nobody reads is an error and no wait.
func Open(path string) (*File, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND|syscall.O_NONBLOCK, 0o640)
	if errors.Is(err, syscall.ENXIO) && IsFIFO(path) {
		return nil, fmt.Errorf("%s is a FIFO without a reader; start its reader: %w", path, err)
	}
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err != nil {
		file.Close()
		return nil, err
	}
	return &File{file: file, own: file, torn: info.Mode().IsRegular() && isTorn(path, info)}, nil
}

// isTorn tells whether the file's last line has no end. What cannot be read counts as whole.
func isTorn(path string, info fs.FileInfo) bool {
	if info.Size() == 0 {
		return false
	}
	file, err := os.Open(path)
	if err != nil {
		return false
	}
	defer file.Close()
	same, err := file.Stat()
	if err != nil || !os.SameFile(info, same) {
		return false
	}
	var last [1]byte
	_, err = file.ReadAt(last[:], same.Size()-1)
	return err == nil && last[0] != '\n'
}

// IsRegular tells whether the path is an ordinary file, or none yet.
func IsRegular(path string) bool {
	info, err := os.Stat(path)
	return err != nil || info.Mode().IsRegular()
}

// IsFIFO tells whether the path is a FIFO.
func IsFIFO(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().Type() == fs.ModeNamedPipe
}

// Standard are the standard streams for whole lines; one and the same where they are one file or pipe.
func Standard(stdout, stderr io.Writer) (out, err *File) {
	out, err = NewFile(stdout), NewFile(stderr)
	if isSameFile(stdout, stderr) {
		return err, err
	}
	return out, err
}

func isSameFile(a, b io.Writer) bool {
	fileA, isFileA := a.(*os.File)
	fileB, isFileB := b.(*os.File)
	if !isFileA || !isFileB || fileA == nil || fileB == nil {
		return false
	}
	infoA, errA := fileA.Stat()
	infoB, errB := fileB.Stat()
	return errA == nil && errB == nil && os.SameFile(infoA, infoB)
}
