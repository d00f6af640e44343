package wire

import (
	"encoding/binary"
	"fmt"
)

// MaxStartup is the longest first packet that is accepted, the server's own
// limit (MAX_STARTUP_PACKET_LENGTH in libpq/pqcomm.h).
const MaxStartup = 10000

// NextStartup returns the body of the packet that opens a connection, which has
// a length but no type: SSLRequest, GSSENCRequest, CancelRequest or
// StartupMessage. It reports false when more bytes are needed. The body is valid
// until the next Fill.
func (r *Reader) NextStartup() (body []byte, ok bool, err error) {
	avail := r.Unread()
	if len(avail) < 4 {
		return nil, false, nil
	}
	length := binary.BigEndian.Uint32(avail)
	if length < 8 || length > MaxStartup {
		return nil, false, fmt.Errorf("%w %d of startup packet", ErrFraming, int32(length))
	}
	if int(length) > len(avail) {
		return nil, false, nil
	}
	r.pos += int(length)
	return avail[4:length:length], true, nil
}
