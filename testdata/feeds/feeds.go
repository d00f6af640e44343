// Package feeds holds what tests of feeds bring from one server to another.
package feeds

import _ "embed"

// Awkward makes tables that a feed is likely to get wrong, in schemas shop and "Mixed
// Case" of an empty database, with rows. shop.events has no key, shop.log is identified by
// all columns, shop.scratch is unlogged, shop.secrets has row-level security. It is one
// script, to be sent as one simple query.
//
//go:embed awkward.sql
var Awkward string
