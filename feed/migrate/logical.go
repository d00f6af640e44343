package migrate

import (
	"slices"

	"pgshunt/feed"
)

// logical orders a change for a replica that is fed by logical replication, which maps
// columns by name: the replica must have every column that is published, and must be
// able to do without those that are not any more.
func (s *situation) logical(o *Order, c *Change) error {
	t := s.primary[c.table()]
	switch c.Action {
	case createTable, createPartition, attachPartition:
		return s.newTable(o, c)
	case addLabel, renameLabel, alterType, dropType, createType:
		return s.ofType(o, c)
	}
	if t == nil || !s.fed(c.table()) {
		return nil
	}
	if s.parents[c.table()] && slices.Contains(inherited, c.Action) { // the replica's tables have no parents
		return refuse("other tables inherit from %s, and change with it", "leave these tables out of the feed first (\"tables\" in the configuration, then \"pgshunt feed apply\"), change them, and feed them again", c.table())
	}
	switch c.Action {
	case addColumn:
		return s.addColumn(o, c)
	case dropColumn:
		return s.dropColumn(o, c)
	case renameColumn:
		return s.renameColumn(o, c)
	case alterColumnType:
		return s.alterColumn(o, c)
	case setNotNull, dropNotNull:
		s.nullness(o, c)
	case renameTable, setSchema:
		return s.moveTable(o, c)
	case dropTable:
		o.After = append(o.After,
			Step{Kind: refresh, What: "take " + c.table() + " out of the subscription"},
			Step{Kind: dropped, What: "drop " + c.table(), Schema: c.Schema, Name: c.Name})
	case detachPartition:
		o.After = append(o.After, Step{
			What: "detach " + c.table(), SQL: "ALTER TABLE " + feed.Quote(c.ParentSchema, c.ParentName) + " DETACH PARTITION " + feed.Quote(c.Schema, c.Name),
		})
		if s.published[c.table()] && !s.published[c.parent()] {
			return nil // it is published by itself, and stays so
		}
		o.After = append(o.After, Step{Kind: refresh, What: "take " + c.table() + " out of the subscription"})
		o.Notes = append(o.Notes, "what is written to "+c.table()+" from now on is not replicated; \"pgshunt feed apply\" feeds it anew")
	case identity:
		if c.To != "f" && (c.To != "d" || len(t.PrimaryKey) == 0) {
			return refuse("this replica identity of %s would stop updates and deletes", "use REPLICA IDENTITY FULL, or DEFAULT with a primary key", c.table())
		}
	case addConstraint, createIndex:
		o.After = append(o.After, Step{Kind: bringKeys, What: "bring the constraints and indexes of " + c.table(), Schema: c.Schema, Name: c.Name})
	case dropConstraint:
		return s.dropKey(o, c)
	case renameConstraint:
		if find(s.replicaKeys[c.table()], c.Column) != nil {
			o.After = append(o.After, Step{What: "rename constraint " + c.Column, SQL: alter(c, "RENAME CONSTRAINT %s TO %s", quoted(c.Column), quoted(c.To))})
		}
	case dropIndex:
		return s.dropIndex(o, c)
	case renameIndex:
		o.After = append(o.After, renameIndexStep(c))
	}
	return nil
}

// renameIndexStep gives an index its new name, or a constraint that holds by one. A replica that has it by
// its old name would keep a unique one when the primary drops it. One that has others is left alone, and so is
// a table of its own by that name, which ALTER INDEX would rename.
func renameIndexStep(c *Change) Step {
	name := feed.Quote(c.Schema, c.Column)
	sql := "BEGIN IF EXISTS (SELECT FROM pg_catalog.pg_index WHERE indexrelid = pg_catalog.to_regclass(" + feed.Literal(name) + ")) THEN ALTER INDEX " + name + " RENAME TO " + quoted(c.To) +
		"; END IF; EXCEPTION WHEN duplicate_table OR duplicate_object THEN NULL; END"
	return Step{What: "rename index " + c.Column, SQL: "DO " + feed.Literal(sql)}
}

// inherited are the changes that tables pass on, and that a replica which lacks them can break by.
var inherited = []string{addColumn, dropColumn, renameColumn, alterColumnType, dropNotNull, dropConstraint}

func (s *situation) addColumn(o *Order, c *Change) error {
	have, there := s.primary[c.table()].Column(c.Column), s.replica[c.table()].Column(c.Column)
	switch {
	case have != nil || !s.column(c): // PostgreSQL complains, or has nothing to do
		return nil
	case there != nil:
		return refuse("%s has a column %s on the replica already, which may hold other values", "drop it there, or rename it", c.table(), c.Column)
	case c.Key:
		return refuse("a column of %s that is a new primary key cannot be ordered", "add the column first, and the key with a statement of its own", c.table())
	case c.Generated:
		o.After = append(o.After, Step{Kind: generated, What: "add generated column " + c.table() + "." + c.Column, Schema: c.Schema, Name: c.Name, Column: c.Column})
		return nil
	case !c.Constant && momentary(c) && !c.Inline && s.replica[c.table()].Kind == 'r' && !s.primary[c.table()].Partition() && !s.whole(c.table()):
		s.addMoment(o, c)
		return nil
	case !c.Constant && s.fetchable(c):
		s.addFetched(o, c)
		return nil
	case !c.Constant:
		err := s.copyAnew(o, c, Step{What: "add column " + c.Column, SQL: alter(c, "ADD COLUMN IF NOT EXISTS %s %s", quoted(c.Column), columnType(c))},
			"the rows of %s get a value of %s that only the primary knows (%s)",
			fillAdvice(c), c.table(), c.Column, c.Default)
		if err == nil && c.NotNull {
			o.After = append(o.After, Step{What: "set " + c.Column + " not null", SQL: alter(c, "ALTER COLUMN %s SET NOT NULL", quoted(c.Column))})
		}
		return err
	}
	s.typeOf(o, c)
	value, set := "", ""
	if c.Default != "" {
		value, set = " DEFAULT "+c.Default, s.settings.sql()
	}
	// With the same constant default the replica's older rows get what the primary's get,
	// and so do rows that come before the primary has the column.
	add := Step{
		What: "add column " + c.Column, SQL: set + alter(c, "ADD COLUMN %s %s%s", quoted(c.Column), columnType(c), value),
		Undo: alter(c, "DROP COLUMN IF EXISTS %s", quoted(c.Column)),
	}
	if value == "" || !s.whole(c.table()) {
		o.Before = append(o.Before, add)
	} else if err := s.stop(o, c, "a new column with a value, in a table whose rows are told apart by all of them (%s),", true); err != nil {
		return err
	} else {
		o.Between = append(o.Between, add)
	}
	if c.NotNull {
		o.After = append(o.After, Step{What: "set " + c.Column + " not null", SQL: alter(c, "ALTER COLUMN %s SET NOT NULL", quoted(c.Column))})
	}
	if c.Inline {
		o.After = append(o.After, Step{Kind: bringKeys, What: "bring the constraints of " + c.table(), Schema: c.Schema, Name: c.Name})
	}
	return nil
}

// fillAdvice is how a column that cannot be fetched is filled by what replication carries.
func fillAdvice(c *Change) string {
	value := c.Default
	if value == "" {
		value = "..."
	}
	return sprintf("send one by one: %s; %s; then UPDATE %s SET %[4]s = %[5]s WHERE %[4]s IS NULL, in batches", alter(c, "ADD COLUMN %s %s", quoted(c.Column), columnType(c)),
		alter(c, "ALTER COLUMN %s SET DEFAULT %s", quoted(c.Column), value), feed.Quote(c.Schema, c.Name), quoted(c.Column), value)
}

func columnType(c *Change) string {
	if c.Collation != "" {
		return c.Type + " COLLATE " + c.Collation
	}
	return c.Type
}

// typeOf has a type of the user's brought before a column needs it.
func (s *situation) typeOf(o *Order, c *Change) {
	schema, name := userType(c.Type)
	if name != "" {
		o.Before = append(o.Before, Step{Kind: bringType, What: "bring type " + c.Type, Schema: schema, Name: name})
	}
}

func (s *situation) dropColumn(o *Order, c *Change) error {
	t, r := s.primary[c.table()], s.replica[c.table()]
	there := r.Column(c.Column)
	switch {
	case t.Column(c.Column) == nil || !s.column(c):
		return nil
	case slices.Contains(t.IdentityColumns, c.Column) || slices.Contains(t.PrimaryKey, c.Column):
		return refuse("%s is a column of the key of %s, by which rows are found", "give the table another replica identity first, and drop the key with a statement of its own", c.Column, c.table())
	case c.Cascade:
		return refuse("DROP COLUMN .. CASCADE of fed table %s may drop what the replica still needs", "drop what depends on the column first, and the column without CASCADE", c.table())
	case there == nil:
		return nil
	case there.Generated == 0 && s.whole(c.table()):
		return s.copyAnew(o, c, Step{What: "drop column " + c.Column, SQL: alter(c, "DROP COLUMN IF EXISTS %s", quoted(c.Column))},
			"rows of %s are told apart by all columns, and the replica finds none by those that are left while it has one more", "give the table a primary key first", c.table())
	}
	if there.NotNull {
		o.Before = append(o.Before, Step{
			What: "let " + c.Column + " be null", SQL: alter(c, "ALTER COLUMN %s DROP NOT NULL", quoted(c.Column)),
			Undo: alter(c, "ALTER COLUMN %s SET NOT NULL", quoted(c.Column)),
		})
	}
	for _, k := range s.replicaKeys[c.table()] {
		if k.Type == 'c' && slices.Contains(k.Columns, c.Column) {
			o.Before = append(o.Before, dropKeyStep(c, &k))
		}
	}
	o.After = append(o.After, Step{What: "drop column " + c.Column, SQL: alter(c, "DROP COLUMN IF EXISTS %s", quoted(c.Column))})
	return nil
}

func dropKeyStep(c *Change, k *constraint) Step {
	return Step{
		What: "drop constraint " + k.Name, SQL: alter(c, "DROP CONSTRAINT IF EXISTS %s", quoted(k.Name)),
		Undo: alter(c, "ADD CONSTRAINT %s %s", quoted(k.Name), k.Def),
	}
}

func find(keys []constraint, name string) *constraint {
	for i := range keys {
		if keys[i].Name == name {
			return &keys[i]
		}
	}
	return nil
}

// nullness follows SET and DROP NOT NULL: rows that the primary may have must always find room.
func (s *situation) nullness(o *Order, c *Change) {
	there := s.replica[c.table()].Column(c.Column)
	if there == nil || !s.column(c) || there.NotNull == (c.Action == setNotNull) {
		return
	}
	if c.Action == setNotNull {
		o.After = append(o.After, Step{What: "set " + c.Column + " not null", SQL: alter(c, "ALTER COLUMN %s SET NOT NULL", quoted(c.Column))})
		return
	}
	o.Before = append(o.Before, Step{
		What: "let " + c.Column + " be null", SQL: alter(c, "ALTER COLUMN %s DROP NOT NULL", quoted(c.Column)),
		Undo: alter(c, "ALTER COLUMN %s SET NOT NULL", quoted(c.Column)),
	})
}

func (s *situation) dropKey(o *Order, c *Change) error {
	t, k := s.primary[c.table()], find(s.keys[c.table()], c.Column)
	there := find(s.replicaKeys[c.table()], c.Column)
	switch {
	case k == nil:
		return nil
	case t.Identity == 'd' && k.Type == 'p' || t.Identity == 'i' && k.Type == 'u' && slices.Equal(k.Columns, t.IdentityColumns):
		return refuse("rows of %s are found by %s", "give the table another replica identity first (ALTER TABLE .. REPLICA IDENTITY FULL)", c.table(), k.Name)
	case there != nil && k.Type != 'p':
		o.Before = append(o.Before, dropKeyStep(c, there))
	}
	return nil
}

func (s *situation) dropIndex(o *Order, c *Change) error {
	i, ok := s.indexes[c.Schema+"."+c.Column]
	if !ok {
		return nil
	}
	drop := Step{What: "drop index " + c.Column, SQL: "DROP INDEX IF EXISTS " + feed.Quote(c.Schema, c.Column), Undo: i.def}
	if i.unique { // before the primary can have rows that it forbids
		o.Before = append(o.Before, drop)
	} else {
		o.After = append(o.After, drop)
	}
	return nil
}
