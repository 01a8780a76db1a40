# Two commands on a fresh machine: `make demo` shows the whole thing working, `make test` tests it.
# Both install what they run with into .parts/, once, with pinned versions.

SHELL := /bin/bash
# A plain environment will do: Go where its own installer puts it, a home folder for its caches.
export PATH := $(PATH):/usr/local/go/bin
ifndef HOME
export HOME := $(shell getent passwd $$(id -u) | cut -d: -f6)
endif

STATICCHECK := .parts/staticcheck-v0.8.2/staticcheck
GOVULNCHECK := .parts/govulncheck-v1.9.0/govulncheck
GOTESTSUM := .parts/gotestsum-v1.13.0/gotestsum
CYCLONEDX := .parts/cyclonedx-gomod-v1.9.0/cyclonedx-gomod
# A count and not a time: with a time, go test may report its own deadline as a failure.
FUZZTIME ?= 300000x

.PHONY: help build install demo demo-api demo-check test test-quick test-web browser lint fuzz fuzz-long exact supply-chain bench reliability faults floods soak image mesh-tools test-mesh tools clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 14

build: ## compile bin/extauthz, a static binary
	CGO_ENABLED=0 go build -trimpath -ldflags="-s -w" -o bin/extauthz ./cmd/extauthz

PREFIX ?= /usr/local
install: build ## bin/extauthz, its manual page and its shell completions below PREFIX (/usr/local); DESTDIR for packages
	install -D -m 755 bin/extauthz $(DESTDIR)$(PREFIX)/bin/extauthz
	install -d $(addprefix $(DESTDIR)$(PREFIX)/share/,man/man1 bash-completion/completions fish/vendor_completions.d zsh/site-functions)
	bin/extauthz man >$(DESTDIR)$(PREFIX)/share/man/man1/extauthz.1
	bin/extauthz completion bash >$(DESTDIR)$(PREFIX)/share/bash-completion/completions/extauthz
	bin/extauthz completion fish >$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/extauthz.fish
	bin/extauthz completion zsh >$(DESTDIR)$(PREFIX)/share/zsh/site-functions/_extauthz

demo: tools ## a Next.js front end with real Better Auth, PostgreSQL, FastAPI and Envoy around extauthz; stays up until Ctrl-C; TLS=1 for https
	@go build -o .parts/bin/demo ./envoy/demo
	@exec .parts/bin/demo -web $(if $(TLS),-tls)

demo-api: tools ## the same without pages: Better Auth on plain Node, which is quicker
	@go build -o .parts/bin/demo ./envoy/demo
	@exec .parts/bin/demo

demo-check: tools ## the quick one, run through once
	@go build -o .parts/bin/demo ./envoy/demo
	@exec .parts/bin/demo -check

test-web: tools browser ## the front end: types, linter, the client's tests, and everything in a real browser, over http and https
	@go build -o .parts/bin/demo ./envoy/demo
	@.parts/bin/demo -web -check
	@cd .parts/web && npm run --silent typecheck && npm run --silent lint
	@cd .parts/web/client && npm run --silent test && npm run --silent check >../check.log 2>&1 || { cat ../check.log; exit 1; }
	@for version in 20 22 24; do \
		node=node; \
		if [ "$$(node --version | cut -d. -f1)" != v$$version ]; then \
			node=.parts/node-$$version/node_modules/node-linux-$(NODEARCH)/bin/node; \
			test -x $$node || { echo "installing Node $$version …"; \
				npm install --no-save --no-audit --no-fund --ignore-scripts --prefix .parts/node-$$version node-linux-$(NODEARCH)@$$version \
					>.parts/npm.log 2>&1 || { echo "Node $$version left out, it cannot be installed here: $$(tail -1 .parts/npm.log)"; continue; }; }; \
		fi; \
		echo "the client on Node $$($$node --version)"; \
		$$node --test --test-reporter=dot .parts/web/client/test/dist/{identity,raw,redirect,request,server,token}.test.js || exit 1; \
	done
	@node .parts/web/e2e/fresh/assemble.mjs $(CURDIR)/.parts/fresh
	@.parts/bin/demo -web -test
	@.parts/bin/demo -web -tls -test

NODEARCH := $(if $(filter aarch64 arm64,$(shell uname -m)),arm64,x64)

browser:
	@command -v chromium >/dev/null || { \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			echo "installing chromium by apt-get …"; \
			{ apt-get update && apt-get install -y --no-install-recommends chromium fonts-dejavu-core; } >.parts/apt.log 2>&1 || { tail .parts/apt.log; exit 1; }; \
		else echo "missing: chromium (Debian package)"; exit 1; fi; \
	}

test: tools lint $(GOTESTSUM) ## all tests, on real parts, and the linters
	@$(if $(RACE),,echo "no C compiler (gcc or cc), so the race detector is left out")
	@# One package after another: each starts servers, and two cores are soon taken.
	@# What failed stands at the end, after all that the packages logged.
	@$(GOTESTSUM) --format pkgname-and-test-fails --hide-summary skipped --jsonfile .parts/test.json \
		-- -timeout 60m -p 1 $(RACE) ./... || { \
		echo "failed:"; sed -n 's/.*"Action":"fail".*"Test":"\([^"]*\)".*/  \1/p' .parts/test.json; exit 1; }

QUICK := ^(TestVerdicts|TestArchitecture|TestBenchmarks.*|TestNothingOutlivesItsMessage|TestFactsAreWhole|TestIssuer.*|TestRoute.*|TestKept.*|.*Page|Fuzz.*)$$
test-quick: ## while you work: vet, the rooms, the verdict table, fuzz seeds and the settings, without the race detector
	go vet ./extauthz/... ./cmd/...
	go test ./extauthz/internal/... ./cmd/lint/... ./cmd/extauthz/internal/...
	go test -run '$(QUICK)' ./extauthz
	go test -run '^(TestScripts|TestReadmeListsTheSettings|.*Page|TestSchema.*)$$' ./cmd/extauthz

RACE := $(if $(shell command -v gcc || command -v cc),-race)

$(STATICCHECK):
	@echo "installing staticcheck into .parts/ …"
	@GOBIN=$(CURDIR)/$(@D) go install honnef.co/go/tools/cmd/staticcheck@$(patsubst .parts/staticcheck-%/,%,$(dir $@))

$(GOTESTSUM):
	@echo "installing gotestsum into .parts/ …"
	@GOBIN=$(CURDIR)/$(@D) go install gotest.tools/gotestsum@$(patsubst .parts/gotestsum-%/,%,$(dir $@))

$(GOVULNCHECK):
	@echo "installing govulncheck into .parts/ …"
	@GOBIN=$(CURDIR)/$(@D) go install golang.org/x/vuln/cmd/govulncheck@$(patsubst .parts/govulncheck-%/,%,$(dir $@))

$(CYCLONEDX):
	@echo "installing cyclonedx-gomod into .parts/ …"
	@GOBIN=$(CURDIR)/$(@D) go install github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@$(patsubst .parts/cyclonedx-gomod-%/,%,$(dir $@))

supply-chain: $(CYCLONEDX) ## module checksums, a reproducible static build, and an SBOM with licences
	@.ci/supply-chain $(CURDIR)/$(CYCLONEDX)

# The tests that do less under the race detector; TestExactRunsWhatTheRaceDetectorLeavesOut holds the list.
EXACT := Test(IdentitiesNeverMix|MutatedCredentials|SecondOpinion|NoInterleavingAllowsWhatIsGone|FloodLeavesRoomForRotations|RotationAcrossReplicas|BodiesArePassedOver|CompressedBomb|ManyFieldsTakeLinearTime|AnswersAreBoundedAndNamed|LinesThatAreLeftOutCostNothing)
exact: ## ten million checks by 64 clients, 100,000 forged credentials and more at full size, without the race detector that make test has
	go test -count=1 -timeout 30m -run '^$(EXACT)$$' -v ./extauthz

lint: $(STATICCHECK) $(GOVULNCHECK) ## gofmt, go vet, staticcheck, our own rules, and govulncheck where its database can be reached
	@echo "gofmt, go vet, staticcheck, our own rules, govulncheck"
	@unformatted=$$(gofmt -l cmd envoy extauthz k8s); test -z "$$unformatted" || { echo "not formatted by gofmt: $$unformatted"; exit 1; }
	@go vet ./...
	@$(STATICCHECK) ./...
	@go build -o .parts/bin/lint ./cmd/lint
	@go vet -vettool=$(CURDIR)/.parts/bin/lint ./...
	@output=$$($(GOVULNCHECK) ./... 2>&1); status=$$?; \
	if [ $$status = 0 ]; then echo "govulncheck: nothing found"; \
	elif grep -q 'Vulnerability #' <<<"$$output"; then echo "$$output"; exit 1; \
	else echo "govulncheck left out, it cannot run here: $$(grep -m1 '^govulncheck: ' <<<"$$output")"; fi

fuzz: ## each fuzz target for FUZZTIME, a count of executions (300000x)
	@.ci/fuzz $(FUZZTIME)

FUZZMINUTES ?= 5
fuzz-long: ## each fuzz target for at least FUZZMINUTES (5)
	@.ci/fuzz $(FUZZTIME) $(FUZZMINUTES)

bench: tools ## what a check costs, against other ways; writes docs/performance.md
	@go build -o .parts/bin/bench ./envoy/bench
	@exec .parts/bin/bench

reliability: tools ## every fault and every flood, on real parts, within fifteen minutes; writes docs/reliability.md
	@go build -o .parts/bin/reliability ./envoy/reliability
	@exec .parts/bin/reliability

faults: tools ## what extauthz depends on breaks under load; SHORT=1 for those that matter most
	@go build -o .parts/bin/reliability ./envoy/reliability
	@exec .parts/bin/reliability -what faults $(if $(SHORT),-short)

floods: tools ## what clients can send to harm others; SHORT=1 for those that matter most
	@go build -o .parts/bin/reliability ./envoy/reliability
	@exec .parts/bin/reliability -what floods $(if $(SHORT),-short)

SOAK ?= 20m
soak: tools ## mixed load for SOAK (20m) with a rotation and a fault each minute
	@go build -o .parts/bin/reliability ./envoy/reliability
	@exec .parts/bin/reliability -soak $(SOAK)

MESH_TOOLS := buildah umoci runc etcd
mesh-tools:
	@missing=; for tool in $(MESH_TOOLS); do command -v $$tool >/dev/null || missing="$$missing $${tool/etcd/etcd-server}"; done; \
	test -f /usr/share/containers/seccomp.json || missing="$$missing golang-github-containers-common"; \
	if [ -n "$$missing" ]; then \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			echo "installing$$missing by apt-get …"; \
			{ apt-get update && apt-get install -y --no-install-recommends $$missing; } >.parts/apt.log 2>&1 || { tail .parts/apt.log; exit 1; }; \
		else echo "missing:$$missing (Debian packages of these names)"; exit 1; fi; \
	fi

ARCH ?= $(shell go env GOARCH)
image: tools mesh-tools ## the container image as an OCI layout in bin/image-ARCH, without an engine
	@k8s/image/assemble $(ARCH) bin/image-$(ARCH)
	@du -sh bin/image-$(ARCH)/oci

test-mesh: tools mesh-tools ## the Kubernetes objects: Istio's and Envoy Gateway's own code, real Envoy, the image (the first time compiles for ten minutes)
	cd k8s/meshtest && go vet . && go test -count=1 -timeout 30m .

tools: # says by name what is missing
	@missing=; \
	command -v go >/dev/null || missing="$$missing, Go 1.26 (https://go.dev/dl)"; \
	python3 -c 'import venv, ensurepip' 2>/dev/null || missing="$$missing, Python 3.10 or later with venv (Debian: python3-venv)"; \
	node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' 2>/dev/null || missing="$$missing, Node.js 20 or later"; \
	command -v npm >/dev/null || missing="$$missing, npm"; \
	command -v curl >/dev/null || missing="$$missing, curl"; \
	test -z "$$missing" || { echo "missing: $${missing#, }"; exit 1; }
	@mkdir -p .parts/bin

clean: ## remove what was built and installed
	rm -rf bin .parts
