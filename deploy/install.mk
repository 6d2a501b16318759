# How blobd is installed, packed and told apart. The Makefile includes this. Everything is made in DIST; `make dist` first,
# then `make install` as root, which needs no Go.

DIST       ?= dist
PREFIX     ?= /usr/local
SYSCONFDIR ?= /etc
DESTDIR    ?=
BASHDIR    ?= $(PREFIX)/share/bash-completion/completions
ZSHDIR     ?= $(PREFIX)/share/zsh/site-functions
FISHDIR    ?= $(PREFIX)/share/fish/vendor_completions.d

# Tests leave it out, to share what other builds have compiled.
TRIMPATH ?= -trimpath

NFPM := github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.43.1

# What is made twice from one commit is the same, with its dates.
SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null || echo 0)
export SOURCE_DATE_EPOCH

# Packages are of a release, or come before the first: 1.2.3, 1.2.3+4.gabc… after it, 0.0.0~20261122.abc….
PACKAGE_VERSION ?= $(shell git describe --tags --match 'v[0-9]*' --abbrev=12 2>/dev/null | sed 's/^v//; s/-\([0-9]*\)-g/+\1.g/' | \
	grep . || git log -1 --format='0.0.0~%cd.%h' --date=format:%Y%m%d --abbrev=12)

.PHONY: dist
dist: man completions sbom ## all that `make install` takes: the binary, man pages, completions, SBOM

# FORCE has Go decide what is to be built anew.
.PHONY: FORCE
$(DIST)/blobd: FORCE
	@mkdir -p '$(DIST)'
	CGO_ENABLED=0 $(GO) build $(TRIMPATH) -buildvcs=auto -ldflags '$(LDFLAGS)' -o '$@' ./cmd/blobd

# The tool is blobd with what writes the pages, for this machine whatever DIST is for.
$(DIST)/tool: FORCE
	@mkdir -p '$(DIST)'
	env -u GOOS -u GOARCH CGO_ENABLED=0 $(GO) build -tags man -ldflags '$(LDFLAGS)' -o '$@' ./cmd/blobd

.PHONY: man
man: $(DIST)/tool ## the man pages of all commands
	rm -rf '$(DIST)/man' && mkdir '$(DIST)/man'
	'$(DIST)/tool' man '$(DIST)/man'

.PHONY: completions
completions: $(DIST)/tool ## for bash, zsh and fish
	mkdir -p '$(DIST)/completions'
	for shell in bash zsh fish; do '$(DIST)/tool' completion $$shell >'$(DIST)/completions/'$$shell || exit 1; done

.PHONY: sbom
sbom: $(DIST)/blobd ## CycloneDX: what the binary is made of, as it says itself
	$(GO) run ./internal/sbom '$(DIST)/blobd' >'$(DIST)/blobd.cdx.json'

# Each file, where it goes, and its mode. Uninstall reads the same table.
define FILES
$(DIST)/blobd $(PREFIX)/bin/blobd 0755
$(DIST)/blobd.service $(PREFIX)/lib/systemd/system/blobd.service 0644
deploy/systemd/blobd.socket $(PREFIX)/lib/systemd/system/blobd.socket 0644
deploy/systemd/blobd.sysusers $(PREFIX)/lib/sysusers.d/blobd.conf 0644
deploy/systemd/blobd.tmpfiles $(PREFIX)/lib/tmpfiles.d/blobd.conf 0644
$(DIST)/completions/bash $(BASHDIR)/blobd 0644
$(DIST)/completions/zsh $(ZSHDIR)/_blobd 0644
$(DIST)/completions/fish $(FISHDIR)/blobd.fish 0644
$(DIST)/blobd.cdx.json $(PREFIX)/share/doc/blobd/blobd.cdx.json 0644
README.md $(PREFIX)/share/doc/blobd/README.md 0644
docs/configuration.md $(PREFIX)/share/doc/blobd/configuration.md 0644
docs/service.md $(PREFIX)/share/doc/blobd/service.md 0644
$(foreach page,$(notdir $(wildcard $(DIST)/man/*.1)),$(DIST)/man/$(page) $(PREFIX)/share/man/man1/$(page) 0644
)
endef
export FILES

CONFIG  := deploy/systemd/config.yaml
ETC      = $(DESTDIR)$(SYSCONFDIR)/blobd

.PHONY: install
install: ## after `make dist`: the binary, systemd's units, man pages and completions, below DESTDIR and PREFIX
	@[ -x '$(DIST)/blobd' ] || { echo 'make install: first, `make dist`' >&2; exit 1; }
	@sed 's|/usr/bin/blobd|$(PREFIX)/bin/blobd|' deploy/systemd/blobd.service >'$(DIST)/blobd.service'
	@echo "$$FILES" | while read -r from to mode; do [ -z "$$from" ] || install -D -m "$$mode" "$$from" '$(DESTDIR)'"$$to" || exit 1; done
	@[ -e '$(ETC)/config.yaml' ] || install -D -m 0644 $(CONFIG) '$(ETC)/config.yaml'

.PHONY: uninstall
uninstall: ## remove what `make install` put, with the same DESTDIR and PREFIX; a configuration that was changed stays
	@echo "$$FILES" | while read -r from to mode; do [ -z "$$from" ] || rm -f '$(DESTDIR)'"$$to"; done
	@rm -f '$(DESTDIR)$(PREFIX)/share/man/man1/'blobd.1 '$(DESTDIR)$(PREFIX)/share/man/man1/'blobd-*.1
	@if cmp -s $(CONFIG) '$(ETC)/config.yaml'; then rm '$(ETC)/config.yaml'; fi
	@rmdir '$(DESTDIR)$(PREFIX)/share/doc/blobd' '$(ETC)' 2>/dev/null || true

# A package is `make install` with PREFIX=/usr. Debian's zsh looks in a place of its own.
PACKAGE_ARCH := $(shell $(GO) env GOARCH)

.PHONY: packages
packages: $(TOOLS)/nfpm dist ## Debian and RPM packages in DIST; GOARCH= for another architecture
	rm -f '$(DIST)'/*.deb '$(DIST)'/*.rpm
	@set -e; for kind in deb rpm; do \
		zsh=site-functions; [ $$kind = rpm ] || zsh=vendor-completions; root='$(DIST)/root'; rm -rf "$$root"; \
		$(MAKE) -s install PREFIX=/usr ZSHDIR=/usr/share/zsh/$$zsh DESTDIR="$$root"; \
		gzip -9n "$$root"/usr/share/man/man1/*; \
		find "$$root" -exec touch -h -d @$$SOURCE_DATE_EPOCH {} +; \
		ROOT="$$root" VERSION='$(PACKAGE_VERSION)' ARCH='$(PACKAGE_ARCH)' \
			'$(TOOLS)/nfpm' package -f deploy/packages/nfpm.yaml -p $$kind -t '$(DIST)'; done

$(TOOLS)/nfpm: deploy/install.mk
	GOBIN='$(TOOLS)' GOOS= GOARCH= $(GO) install $(NFPM)
	@touch '$@'

.PHONY: reproducible
reproducible: ## build twice, in two folders and with two caches: the binaries are the same to the last bit
	./deploy/reproducible.sh

.PHONY: service-test
service-test: packages ## install Debian's package under a systemd of its own and try the service; as root
	cd $(INTEROP) && BLOBD_REQUIRE_ROOT_TESTS=1 BLOBD_TEST_PACKAGES='$(abspath $(DIST))' $(GO) test -count=1 -v -timeout 20m ./service
