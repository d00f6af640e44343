package proxy

import (
	"encoding/binary"
	"strings"

	"pgshunt/internal/pgerr"
	"pgshunt/pool"
)

// firstObject is the first OID that a server gives to what is not built in
// (FirstNormalObjectId in access/transam.h). The types of extensions have such OIDs,
// which differ from server to server.
const firstObject = 16384

// foreignType is the error for a statement that is about to be prepared on a replica
// with a parameter type that the client knows by the primary's OID: there it is another
// type, or none. It is nil where there is no such type.
func (s *session) foreignType(p *pool.Prepared) *pgerr.Error {
	if !s.onReplicaNow() {
		return nil
	}
	_, types, _ := strings.Cut(p.Body, "\x00")
	if len(types) < 2 {
		return nil
	}
	for n, types := 1, []byte(types[2:]); len(types) >= 4; n, types = n+1, types[4:] {
		oid := binary.BigEndian.Uint32(types)
		if oid < firstObject {
			continue
		}
		return pgerr.New(pgerr.FeatureNotSupported, "parameter $%d has a type that PostgresML server %q may know by another number", n, s.to.Key.Target).
			WithDetail("Its OID is %d. OIDs of types that are not built in differ from server to server.", oid).
			WithHint("Leave the type of the parameter unspecified and cast it in the statement, such as $%d::text::vector.", n).In("foreignType")
	}
	return nil
}
