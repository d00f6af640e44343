package configs

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSecretsNeverPrint(t *testing.T) {
	c := Default()
	c.Primary = Server{URL: "postgres://app:hunter2@db/production?sslpassword=hunter2&pass%77ord=hunter2", Password: "hunter2"}
	c.Auth.Users = []User{{Name: "app", Password: "hunter2", Verifier: "hunter2"}}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		for _, v := range []any{c, *c, c.Primary, c.Primary.Password, &c.Primary.Password, c.Primary.URL, c.Auth.Users} {
			text := fmt.Sprintf(verb, v)
			if strings.Contains(text, "hunter2") || strings.Contains(text, fmt.Sprintf("%x", "hunter2")) {
				t.Errorf("%s of %T shows the secret: %s", verb, v, text)
			}
		}
	}
	data, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	for _, h := range []slog.Handler{slog.NewTextHandler(&log, nil), slog.NewJSONHandler(&log, nil)} {
		slog.New(h).Info("x", "config", c, "server", c.Primary, "secret", c.Primary.Password, "url", c.Primary.URL)
	}
	for _, text := range []string{string(data), log.String()} {
		if strings.Contains(text, "hunter2") {
			t.Errorf("shows the secret: %s", text)
		}
		if !strings.Contains(text, "***") {
			t.Errorf("does not show that there is a secret: %s", text)
		}
	}
}

func TestURLPrintsWithoutItsPassword(t *testing.T) {
	for in, want := range map[URL]string{
		"postgres://app@db:5432/production":         "postgres://app@db:5432/production",
		"postgres://app:a/b@c@db:5432/production":   "postgres://app:***@db:5432/production",
		"postgres://db/x?password=s%26x&sslmode=no": "postgres://db/x?password=***&sslmode=no",
		`host=db password = 'it\'s so' user=app`:    "host=db password = *** user=app",
		`host=db password=a\ b user=app`:            "host=db password=*** user=app",
	} {
		if got := in.String(); got != want {
			t.Errorf("%s, expected %s", got, want)
		}
	}
}

func TestSecretFiles(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	write("url", "postgres://app@db/production\n", 0o600)
	write("pw", "hunter2 \n", 0o644)
	write("two", "a\nb\n", 0o600)
	write("pgshunt.yaml", "primary: {url_file: url, password_file: pw}\n", 0o644)
	c, err := Load(filepath.Join(dir, "pgshunt.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if string(c.Primary.URL) != "postgres://app@db/production" || string(c.Primary.Password) != "hunter2 " {
		t.Errorf("got %q and %q", string(c.Primary.URL), string(c.Primary.Password))
	}
	if text := strings.Join(c.Warnings, "\n"); !strings.Contains(text, "pw is readable by others (mode 0644)") {
		t.Errorf("warnings: %s", text)
	}
	for file, want := range map[string]string{
		"two":       "must hold the password as its only line",
		"absent":    "no such file",
		".":         "is not a regular file",
		"/dev/null": "is not a regular file",
	} {
		text := "primary: {url_file: url, password_file: " + file + "}\n"
		_, err := Parse(filepath.Join(dir, "x.yaml"), []byte(text), os.LookupEnv)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, expected %q", file, err, want)
		}
	}
}
