# blobd in an image of its own: the static binary and the certificate authorities, no shell, nobody's root.
#
#	docker build -t blobd --build-arg VERSION=v1.2.3 --build-arg COMMIT=$(git rev-parse HEAD) .
#
# docs/kubernetes.md tells how it is run. The base of the first stage needs Go, a shell and a CA bundle; give another one,
# from a registry of yours for instance, with --build-arg GO_IMAGE=…
ARG GO_IMAGE=docker.io/library/golang:1.26

FROM ${GO_IMAGE} AS build
ARG VERSION=devel
ARG COMMIT
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "-s -w -X main.version=${VERSION} -X main.commit=${COMMIT}" -o /image/usr/bin/blobd ./cmd/blobd
# What else the last stage needs, which has nothing to make it with: certificates, a name for the user, and the two folders
# that are the daemon's own, the cache's for nobody else. One time for all, so that the same source makes the same layers.
RUN mkdir -p /image/etc/ssl/certs /image/run /image/var/cache /own/run/blobd /own/cache/blobd \
	&& cp /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ \
	&& echo 'blobd:x:65532:65532:blobd:/nowhere:/nowhere' > /image/etc/passwd \
	&& echo 'blobd:x:65532:' > /image/etc/group \
	&& chmod 0700 /own/cache/blobd \
	&& find /image /own -exec touch -d '2000-01-01 00:00:00' {} +

FROM scratch
ARG VERSION=devel
ARG COMMIT=unknown
LABEL org.opencontainers.image.title="blobd" \
	org.opencontainers.image.description="One warm cache of registry content per host, served to every process there" \
	org.opencontainers.image.source="https://github.com/blobd/blobd" \
	org.opencontainers.image.version="${VERSION}" \
	org.opencontainers.image.revision="${COMMIT}"
COPY --from=build /image/ /
COPY --from=build --chown=65532:65532 /own/run/ /run/
COPY --from=build --chown=65532:65532 /own/cache/ /var/cache/
# The daemon and the commands that run in here agree on the socket. HTTP is for the network that the container is in.
ENV PATH=/usr/bin \
	BLOBD_SOCKET=/run/blobd/blobd.sock \
	BLOBD_CACHE_DIR=/var/cache/blobd \
	BLOBD_HTTP_ADDR=:9465
USER 65532:65532
VOLUME ["/run/blobd", "/var/cache/blobd"]
EXPOSE 9465
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=6s --start-period=2m --retries=3 CMD ["blobd", "healthcheck"]
ENTRYPOINT ["blobd"]
CMD ["serve"]
