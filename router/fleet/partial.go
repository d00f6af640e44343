package fleet

import (
	"context"
	"maps"
	"strings"

	"pgshunt/router"
)

// A publication may leave out rows (a filter), columns (a list) or changes (publish =
// 'insert'). What a replica has of such a table is not what the primary has, though its
// subscription is as it should be.

// published is one relation as one publication has it, as the subscriber sees it: of a
// partitioned table that is either the root or each leaf.
type published struct{ publication, schema, name string }

// partialQuery lists what the primary publishes in part. Publications without any of that are
// passed over whole. Filters and lists are not there before PostgreSQL 15, hence the JSON.
const partialQuery = `WITH limited AS MATERIALIZED (SELECT p.pubname, NOT (p.pubinsert AND p.pubupdate AND p.pubdelete AND p.pubtruncate) AS changes
		FROM pg_publication p WHERE NOT (p.pubinsert AND p.pubupdate AND p.pubdelete AND p.pubtruncate) OR EXISTS (
			SELECT FROM pg_publication_rel r WHERE r.prpubid = p.oid AND (to_jsonb(r) ->> 'prqual' IS NOT NULL OR to_jsonb(r) ->> 'prattrs' IS NOT NULL)))
	SELECT l.pubname, t.schemaname, t.tablename FROM limited l JOIN pg_publication_tables t ON t.pubname = l.pubname
	WHERE l.changes OR to_jsonb(t) ->> 'rowfilter' IS NOT NULL OR jsonb_array_length(to_jsonb(t) -> 'attnames') < (SELECT count(*)
		FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname = t.schemaname AND c.relname = t.tablename AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '')`

// subscribedQuery lists which publications bring which relation. Where several do, one that is
// whole would make up for the others; that is not looked into.
const subscribedQuery = `SELECT DISTINCT p.name, n.nspname, c.relname FROM ` + subscriptionsHere + ` s CROSS JOIN unnest(s.subpublications) p(name)
	JOIN pg_subscription_rel r ON r.srsubid = s.oid JOIN pg_class c ON c.oid = r.srrelid JOIN pg_namespace n ON n.oid = c.relnamespace
	WHERE p.name = ANY ($1)`

// copiedPartQuery lists what a dump has copied in part, under the name that was recorded. Who
// records may not know of parts, hence the JSON.
const copiedPartQuery = `SELECT n.nspname, c.relname FROM pgshunt.copies o JOIN pg_class c
	JOIN pg_namespace n ON n.oid = c.relnamespace ON o.relation IN (n.nspname || '.' || c.relname, quote_ident(n.nspname) || '.' || quote_ident(c.relname))
	WHERE (to_jsonb(o) ->> 'partial')::boolean`

const (
	inPart       = "is replicated there only in part"
	copiedInPart = "is copied there only in part"
)

// loadPublished reads what the primary publishes in part.
func (s *source) loadPublished(ctx context.Context) error {
	s.published = make(map[published]bool)
	var p published
	return each(ctx, s.conn, partialQuery, []any{&p.publication, &p.schema, &p.name}, func() error {
		s.published[p] = true
		return nil
	})
}

// loadPartial finds out which relations of a replica have only a part of the primary's
// rows: those that come so, with their parents and children.
func (s *source) loadPartial(ctx context.Context, primary *source) error {
	s.partial = make(map[string]string)
	var err error
	switch {
	case s.recorded:
		err = s.loadCopied(ctx)
	case s.server.Feed == router.FeedLogical && len(primary.published) > 0:
		err = s.loadSubscribed(ctx, primary)
	}
	if err != nil {
		return err
	}
	direct := maps.Clone(s.partial)
	for key, parent := range primary.parents {
		name := strings.Replace(key, "\x00", ".", 1)
		for child := range strings.SplitSeq(parent.children, ",") {
			if why := direct[child]; why != "" {
				s.partial[name] = why
			}
			if why := direct[name]; why != "" {
				s.partial[child] = why
			}
		}
	}
	return nil
}

func (s *source) loadCopied(ctx context.Context) error {
	var schema, name string
	return each(ctx, s.conn, copiedPartQuery, []any{&schema, &name}, func() error {
		s.partial[schema+"."+name] = copiedInPart
		return nil
	})
}

func (s *source) loadSubscribed(ctx context.Context, primary *source) error {
	var names []string
	for p := range primary.published {
		names = append(names, p.publication)
	}
	rows, err := s.conn.Query(ctx, subscribedQuery, names)
	if err != nil {
		return err
	}
	defer rows.Close()
	var p published
	for rows.Next() {
		if err := rows.Scan(&p.publication, &p.schema, &p.name); err != nil {
			return err
		}
		if primary.published[p] {
			s.partial[p.schema+"."+p.name] = inPart
		}
	}
	return rows.Err()
}
