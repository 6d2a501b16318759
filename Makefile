# Everything that this project does to itself. `make` lists the targets; .ci/run calls them.

SHELL := /bin/sh
GO    ?= go

INTEROP     := test/interop
TOOLS       := $(CURDIR)/.cache/bin
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2

# Twelve digits, so that a clone with fewer commits says the same.
VERSION  ?= $(shell git describe --tags --always --dirty --abbrev=12 2>/dev/null || echo unknown)
LDFLAGS  := -X main.version=$(VERSION)

# The race detector needs cgo, and so a C compiler.
CC_FOUND := $(shell command -v "$$($(GO) env CC)" 2>/dev/null)
RACE     := $(if $(CC_FOUND),-race)

PLATFORMS := linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## bin/blobd
	CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=auto -ldflags '$(LDFLAGS)' -o bin/ ./cmd/blobd

.PHONY: quickstart
quickstart: ## see the whole idea work, on loopback and in a temporary folder
	@cd $(INTEROP) && $(GO) build -o '$(TOOLS)/' ./quickstart
	@'$(TOOLS)/quickstart'

# In the tests of end to end it is the daemon that has the race detector; the registry beside it would only be slow. What they
# and those of the docs try is outside their module, where go test does not look for changes: hence -count=1.
.PHONY: test
test: race-note ## every test that needs only Go, with the race detector where there is a C compiler
	@failed=0; BLOBD_TEST_SKIPS=$$(mktemp); export BLOBD_TEST_SKIPS; \
	$(GO) test -timeout 30m $(RACE) ./... || failed=1; \
	$(if $(RACE),$(GO) test -run TestEveryCallFails ./cache/store || failed=1;) \
	cd $(INTEROP) && $(GO) test -count=1 -timeout 30m $(RACE) $$($(GO) list ./... | grep -v -e /e2e$$ -e /container$$) || failed=1; \
	BLOBD_TEST_RACE=$(RACE) $(GO) test -count=1 -timeout 30m ./e2e || failed=1; \
	sed 's/^/skipped: /' "$$BLOBD_TEST_SKIPS"; rm -f "$$BLOBD_TEST_SKIPS"; \
	exit $$failed

# With docker or podman, whichever is there. test/interop/container builds it too, from what is on this machine.
ENGINE ?= $(firstword $(foreach e,docker podman,$(if $(shell command -v $e),$e)) docker)

.PHONY: image
image: ## the container image blobd:$(VERSION), with docker or podman (ENGINE=)
	$(ENGINE) build $(if $(filter podman,$(notdir $(ENGINE))),--format docker) --build-arg VERSION='$(VERSION)' \
		--build-arg COMMIT="$$(git rev-parse HEAD 2>/dev/null || echo unknown)" -t 'blobd:$(VERSION)' .

.PHONY: image-test
image-test: ## build the image and run it in containers, as the manifests say (needs root, podman, runc, busybox-static)
	cd $(INTEROP) && $(GO) test -count=1 -timeout 15m ./container

.PHONY: k8s-test
k8s-test: ## judge deploy/k8s with Kubernetes' types and its Pod Security evaluator (a cold build takes a minute or two)
	cd test/k8s && $(GO) vet ./schemas && $(GO) test -vet=all -count=1 -timeout 15m .

.PHONY: k8s-rendered
k8s-rendered: ## write test/k8s/rendered, what kustomize makes of deploy/k8s
	cd test/k8s && BLOBD_WRITE_RENDERED=1 $(GO) test -count=1 -run TestRendered .

# Against the schemas of a Kubernetes release, made from its API description: hundreds of megabytes to load once.
KUBERNETES  := v1.36.3
KUBECONFORM := github.com/yannh/kubeconform/cmd/kubeconform@v0.8.0

.PHONY: kubeconform
kubeconform: ## hold test/k8s/rendered against the schemas of Kubernetes $(KUBERNETES)
	GOBIN='$(TOOLS)' $(GO) install $(KUBECONFORM)
	cd test/k8s && $(GO) run ./schemas -kubernetes $(KUBERNETES) -out '$(CURDIR)/.cache/schemas/$(KUBERNETES)'
	'$(TOOLS)/kubeconform' -strict -summary -verbose -skip PodMonitor \
		-schema-location '$(CURDIR)/.cache/schemas/$(KUBERNETES)/{{.ResourceKind}}{{.KindSuffix}}.json' test/k8s/rendered

.PHONY: test-long
test-long: race-note ## `make test`, and the tests of end to end that take minutes
	$(GO) test -timeout 30m $(RACE) ./...
	cd $(INTEROP) && BLOBD_TEST_LONG=1 BLOBD_TEST_RACE=$(RACE) $(GO) test -count=1 -timeout 60m ./...

.PHONY: race-note
race-note:
	@$(if $(RACE),:,echo 'no C compiler ($(shell $(GO) env CC)): the tests run without the race detector')

.PHONY: lint
lint: $(TOOLS)/staticcheck ## gofmt, go vet and staticcheck
	@unformatted=$$(git ls-files -co --exclude-standard '*.go' | xargs gofmt -s -l) && \
		if [ -n "$$unformatted" ]; then echo "gofmt -s -w $$unformatted"; exit 1; fi
	$(GO) vet ./...
	'$(TOOLS)/staticcheck' ./...
	cd $(INTEROP) && $(GO) vet ./... && '$(TOOLS)/staticcheck' ./...

$(TOOLS)/staticcheck: Makefile
	GOBIN='$(TOOLS)' $(GO) install $(STATICCHECK)
	@touch '$@'

.PHONY: generate
generate: ## make the generated Go code again (needs protoc)
	./api/generate.sh

.PHONY: check-generated
check-generated: generate check-docs ## fail when the generated code and pages in the tree are not what generate and docs make
	@changed=$$(git status --porcelain -- api) && if [ -n "$$changed" ]; then \
		echo "$$changed"; echo 'commit what make generate made'; exit 1; fi

.PHONY: docs
docs: ## write the pages of docs that are made from the code
	$(GO) run ./internal/docgen

.PHONY: check-docs
check-docs: ## fail when such a page is stale
	$(GO) run ./internal/docgen -check

.PHONY: check-rules
check-rules: ## check the rules for Prometheus, and run the cases of each (needs promtool)
	cd deploy/prometheus && promtool check config prometheus.yml && promtool test rules recording_test.yml alerts_test.yml

.PHONY: cross
cross: ## build for every platform, and vet the tests on the other systems
	@set -e; for p in $(PLATFORMS); do echo "go build $$p"; \
		CGO_ENABLED=0 GOOS=$${p%/*} GOARCH=$${p#*/} $(GO) build ./...; done
	@set -e; for p in darwin/arm64 windows/amd64; do echo "go vet $$p"; \
		CGO_ENABLED=0 GOOS=$${p%/*} GOARCH=$${p#*/} $(GO) vet ./...; done

# test/fuzz.sh tells the rest: FUZZTIME, FUZZPARALLEL, and FUZZTARGET for one target alone.
.PHONY: fuzz-smoke
fuzz-smoke: ## run each fuzz target for 5 s, or for FUZZTIME
	@FUZZTIME=$(or $(FUZZTIME),5s) FUZZPARALLEL=$(FUZZPARALLEL) FUZZTARGET=$(FUZZTARGET) ./test/fuzz.sh

.PHONY: fuzz
fuzz: ## run each fuzz target for 10 min, or for FUZZTIME, in FUZZPARALLEL processes; FUZZTARGET= names one
	@FUZZTIME=$(or $(FUZZTIME),10m) FUZZPARALLEL=$(FUZZPARALLEL) FUZZTARGET=$(FUZZTARGET) ./test/fuzz.sh

.PHONY: bench
bench: ## blobd beside meigma/blob in one run; writes docs/benchmarks.md
	cd $(INTEROP) && $(GO) run ./bench -out '$(CURDIR)/docs/benchmarks.md'

# How long chaos rages, and what it is made from; without SEED, at random.
DURATION ?= 60s

.PHONY: chaos
chaos: race-note ## a model check: clients read through a daemon that everything happens to, for $(DURATION); SEED= repeats one
	@cd $(INTEROP) && $(GO) build -o '$(TOOLS)/' ./chaos
	@cd $(INTEROP) && '$(TOOLS)/chaos' -duration $(DURATION) $(if $(SEED),-seed $(SEED)) $(RACE)

# Where the pictures of the status page go.
SHOTS ?= $(CURDIR)/.cache/page

.PHONY: page-shots
page-shots: ## have Chromium draw the status page into SHOTS: four daemons, light and dark, desktop and phone
	@mkdir -p '$(SHOTS)'
	BLOBD_PAGE_SHOTS='$(abspath $(SHOTS))' $(GO) test -count=1 -run TestShots ./monitor/page
	@echo '$(SHOTS)'

.PHONY: clean
clean: ## remove what the other targets made
	rm -rf bin dist .cache

include deploy/install.mk
