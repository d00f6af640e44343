package auth

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"pgshunt/internal/pgtest"
	"pgshunt/internal/scram"
)

// aKey is the key of a verifier for a password that nobody needs to know.
func aKey(password string) *scram.Key {
	key, ok := scram.New(password, []byte("salt of sixteen."), 4096).Check(password)
	if !ok {
		panic("BUG: a password is not its own")
	}
	return key
}

// scripted logs in to a server that plays a script, and tells whether the key was refused.
func scripted(t *testing.T, conninfo string, key *scram.Key, server func(be *pgproto3.Backend) error) (refused bool, err error) {
	t.Helper()
	cfg, err := pgconn.ParseConfig("host=127.0.0.1 user=me sslmode=disable " + conninfo)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := net.Pipe()
	cfg.DialFunc = func(context.Context, string, string) (net.Conn, error) { return ours, nil }
	UseKey(cfg, key, func() { refused = true })
	done := make(chan error, 1)
	go func() {
		defer theirs.Close()
		be := pgproto3.NewBackend(theirs, theirs)
		if _, err := be.ReceiveStartupMessage(); err != nil {
			done <- err
			return
		}
		done <- server(be)
	}()
	ctx, cancel := context.WithTimeout(t.Context(), pgtest.Patience)
	defer cancel()
	pc, err := pgconn.ConnectConfig(ctx, cfg)
	if err == nil {
		if hc, herr := pc.Hijack(); herr != nil || hc.Conn.(interface{ Unwrap() net.Conn }).Unwrap() != ours {
			t.Errorf("no way to the connection underneath: %v", herr)
		}
	}
	_ = ours.Close()
	if serr := <-done; serr != nil && !errors.Is(serr, io.ErrClosedPipe) && !errors.Is(serr, io.EOF) && !errors.Is(serr, io.ErrUnexpectedEOF) {
		t.Errorf("the server: %v", serr)
	}
	return refused, err
}

func say(be *pgproto3.Backend, messages ...pgproto3.BackendMessage) error {
	for _, m := range messages {
		be.Send(m)
	}
	return be.Flush()
}

// exchangeBy is a server's part of SCRAM with a verifier; forge replaces its signature.
func exchangeBy(be *pgproto3.Backend, v *scram.Verifier, forge string) error {
	if err := say(be, &pgproto3.AuthenticationSASL{AuthMechanisms: []string{scram.Mechanism}}); err != nil {
		return err
	}
	s := &scram.Server{Verifier: v}
	if err := be.SetAuthType(pgproto3.AuthTypeSASL); err != nil {
		return err
	}
	m, err := be.Receive()
	if err != nil {
		return err
	}
	challenge, err := s.First(scram.Mechanism, m.(*pgproto3.SASLInitialResponse).Data)
	if err != nil {
		return err
	}
	if err := say(be, &pgproto3.NoticeResponse{Message: "in the middle"}, &pgproto3.AuthenticationSASLContinue{Data: challenge}); err != nil {
		return err
	}
	if err := be.SetAuthType(pgproto3.AuthTypeSASLContinue); err != nil {
		return err
	}
	if m, err = be.Receive(); err != nil {
		return err
	}
	answer, key, err := s.Final(m.(*pgproto3.SASLResponse).Data)
	if err != nil {
		return err
	}
	if key == nil && forge == "" {
		return say(be, &pgproto3.ErrorResponse{Severity: "FATAL", Code: "28P01", Message: "password authentication failed for user \"me\""})
	}
	if forge != "" {
		answer = []byte(forge)
	}
	return say(be, &pgproto3.AuthenticationSASLFinal{Data: answer})
}

func welcome(be *pgproto3.Backend) error {
	return say(be, &pgproto3.AuthenticationOk{}, &pgproto3.ParameterStatus{Name: "a", Value: "b"},
		&pgproto3.BackendKeyData{ProcessID: 1, SecretKey: []byte{1, 2, 3, 4}}, &pgproto3.ReadyForQuery{TxStatus: 'I'})
}

// Servers as they are, and as they should not be.
func TestLoginByKey(t *testing.T) {
	key := aKey("secret")
	v := key.Verifier()
	for name, c := range map[string]struct {
		conninfo string
		server   func(be *pgproto3.Backend) error
		want     string // "" is success
		refused  bool
	}{
		"the same verifier": {"", func(be *pgproto3.Backend) error {
			if err := exchangeBy(be, v, ""); err != nil {
				return err
			}
			return welcome(be)
		}, "", false},
		"an older protocol": {"", func(be *pgproto3.Backend) error {
			if err := say(be, &pgproto3.NegotiateProtocolVersion{NewestMinorProtocol: 3 << 16}); err != nil {
				return err
			}
			return welcome(be)
		}, "", false},
		"trust":                         {"", welcome, "", false},
		"trust where SCRAM is demanded": {"require_auth=scram-sha-256", welcome, "without the authentication that the connection string demands", false},
		"SCRAM where it is forbidden": {
			"require_auth=!scram-sha-256", func(be *pgproto3.Backend) error { return exchangeBy(be, v, "") },
			"28P01", false,
		},
		"binding demanded without TLS": {
			"channel_binding=require", func(be *pgproto3.Backend) error { return exchangeBy(be, v, "") },
			"does not offer SCRAM-SHA-256-PLUS", false,
		},
		"another salt": {"", func(be *pgproto3.Backend) error {
			return exchangeBy(be, scram.New("secret", []byte("salt of sixteen!"), 4096), "")
		}, "28P01", true},
		"another password": {"", func(be *pgproto3.Backend) error {
			return exchangeBy(be, scram.New("other", []byte("salt of sixteen."), 4096), "")
		}, "28P01", true},
		"no verifier at all": {"", func(be *pgproto3.Backend) error {
			return exchangeBy(be, scram.New("other", []byte("salt of sixteen."), 4096), "v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")
		}, "does not have the verifier", false},
		"MD5": {"", func(be *pgproto3.Backend) error { return say(be, &pgproto3.AuthenticationMD5Password{}) }, "28P01", false},
		"another mechanism": {"", func(be *pgproto3.Backend) error {
			return say(be, &pgproto3.AuthenticationSASL{AuthMechanisms: []string{"OAUTHBEARER"}})
		}, "28P01", false},
		"no such role": {"", func(be *pgproto3.Backend) error {
			return say(be, &pgproto3.ErrorResponse{Severity: "FATAL", Code: "28000", Message: "role \"me\" does not exist"})
		}, "28000", false},
		"a request out of order": {"", func(be *pgproto3.Backend) error {
			return say(be, &pgproto3.AuthenticationSASLFinal{Data: []byte("v=")})
		}, "28P01", false},
		"a huge message": {"", func(be *pgproto3.Backend) error {
			return say(be, &pgproto3.ParameterStatus{Name: strings.Repeat("x", maxLoginMessage)})
		}, "during a login", false},
		"nothing": {"", func(*pgproto3.Backend) error { return nil }, "EOF", false},
	} {
		t.Run(name, func(t *testing.T) {
			refused, err := scripted(t, c.conninfo, key, c.server)
			if (c.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), c.want) || refused != c.refused {
				t.Errorf("refused %v, %v", refused, err)
			}
		})
	}
}

// No stream of bytes hangs, panics or lets a login through that was not proven.
func FuzzLoginByKey(f *testing.F) {
	encode := func(m pgproto3.BackendMessage) []byte {
		out, _ := m.Encode(nil)
		return out
	}
	f.Add(encode(&pgproto3.AuthenticationSASL{AuthMechanisms: []string{scram.Mechanism}}))
	f.Add(append(encode(&pgproto3.AuthenticationSASL{AuthMechanisms: []string{scram.Mechanism}}), encode(&pgproto3.AuthenticationSASLContinue{Data: []byte("r=,s=,i=1")})...))
	f.Add(append(encode(&pgproto3.NoticeResponse{}), encode(&pgproto3.AuthenticationOk{})...))
	f.Add([]byte("R\x00\x00\x00\x04"))
	key := aKey("secret")
	f.Fuzz(func(t *testing.T, data []byte) {
		c := &keyConn{Conn: &recorded{in: strings.NewReader(string(data))}, key: key, demand: demand{auth: "scram-sha-256"}, refused: func() {}}
		out, err := io.ReadAll(io.LimitReader(c, 1<<20))
		if err == nil && c.proven {
			t.Fatalf("proven by %q", data)
		}
		if strings.Contains(string(out), "R\x00\x00\x00\x08\x00\x00\x00\x00") && !c.passing {
			t.Fatalf("AuthenticationOk passes in %q", out)
		}
	})
}

// recorded is a server that says what it has to say, whatever it is told.
type recorded struct {
	net.Conn
	in *strings.Reader
}

func (r *recorded) Read(p []byte) (int, error)  { return r.in.Read(p) }
func (r *recorded) Write(p []byte) (int, error) { return len(p), nil }
