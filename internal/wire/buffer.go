package wire

import "sync"

// Buffers come in two sizes: smallBuffer serves nearly all traffic, largeBuffer
// serves bulk transfer and texts that must be seen whole.
const (
	smallBuffer = 16 << 10
	largeBuffer = 128 << 10
)

// The pools hold pointers to slices because a slice put into an interface is
// copied to the heap at every Put.
var (
	smallBuffers = sync.Pool{New: func() any { b := make([]byte, smallBuffer); return &b }}
	largeBuffers = sync.Pool{New: func() any { b := make([]byte, largeBuffer); return &b }}
)

// borrow returns a buffer of at least size bytes, at most largeBuffer.
func borrow(size int) *[]byte {
	if size <= smallBuffer {
		return smallBuffers.Get().(*[]byte)
	}
	return largeBuffers.Get().(*[]byte)
}

func giveBack(b *[]byte) {
	if len(*b) == smallBuffer {
		smallBuffers.Put(b)
		return
	}
	largeBuffers.Put(b)
}
