# The SQL parser is C, so the binary needs cgo and the same Debian to run on.
FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN go build -trimpath -ldflags="-s -w" -o /pgshunt ./cmd/pgshunt

FROM debian:bookworm-slim
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /pgshunt /usr/local/bin/pgshunt
USER nobody
EXPOSE 6432
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/pgshunt"]
CMD ["serve", "-c", "/etc/pgshunt/pgshunt.yaml"]
