# Targets are a line or a few; the work is in scripts/, which needs bash, Go, git and, on a bare machine, root.

# For go test, and for the suite's own flags: make e2e GO_TEST_FLAGS='-strategies prestop-sleep -disruptions rolling-update'
GO_TEST_FLAGS ?=
# A node image to use instead of kind's default or one built from source: make e2e NODE_IMAGE=kindest/node:v1.36.1
NODE_IMAGE ?=
export NODE_IMAGE
# Separated by commas; empty: all. Which folders of scripts/images are found or built: make images CONSUMERS=traefik; and
# which folders of fixtures/consumers are measured: make consumers CONSUMERS=ingress,gateway
CONSUMERS ?=

.DEFAULT_GOAL := help
.NOTPARALLEL: # what is measured shares the machine with nothing
# Makes targets one after the other, also those after one that fails: a job at night has to tell all it can.
ALL = $(MAKE) --no-print-directory --keep-going

.PHONY: help
help: ## Show this help
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: e2e
e2e: ## Count the requests that each shutdown strategy drops, on a real cluster (GO_TEST_FLAGS='-profile full')
	@scripts/e2e.sh $(GO_TEST_FLAGS)

.PHONY: test
test: ## Unit tests, and one real smoke run on a cluster
	@scripts/unit.sh
	@scripts/e2e.sh -profile smoke -rate 25 $(GO_TEST_FLAGS)

.PHONY: unit
unit: ## Unit tests with the race detector; no cluster, no Docker
	@scripts/unit.sh $(GO_TEST_FLAGS)

.PHONY: consumers
consumers: ## Measure every consumer of endpoints; builds what they need first (CONSUMERS=ingress,gateway: these only). Two hours
	@scripts/consumers.sh $(if $(CONSUMERS),-consumers '$(CONSUMERS)') $(GO_TEST_FLAGS)

.PHONY: disruptions
disruptions: ## Everything that makes Pods go away, with a strategy that stops at once and one that waits; builds Traefik first. An hour
	@$(MAKE) --no-print-directory images CONSUMERS=traefik
	@scripts/e2e.sh -profile disruptions -out artifacts/disruptions -timeout 2h $(GO_TEST_FLAGS)

.PHONY: argo
argo: ## Blue-green by Argo Rollouts, with its default delay of 30 s, beside zerodrop's own; builds the controller first. Ten minutes
	@$(MAKE) --no-print-directory images CONSUMERS=argo-rollouts
	@scripts/e2e.sh -profile argo -out artifacts/argo $(GO_TEST_FLAGS)

.PHONY: long
long: ## What becomes of held connections and long tasks when Pods go away, and what it costs not to cut them. Half an hour
	@scripts/e2e.sh -profile long -out artifacts/long -timeout 90m $(GO_TEST_FLAGS)

.PHONY: keda
keda: ## Old releases drained by KEDA, and an app that it scales to zero and back while requests come; builds its operator first. A quarter of an hour
	@$(MAKE) --no-print-directory images CONSUMERS=keda,prometheus,traefik
	@scripts/e2e.sh -profile keda -out artifacts/keda $(GO_TEST_FLAGS)

.PHONY: servers
servers: ## What real servers drop, nginx to Tomcat, by the way in which they are stopped; builds their images first. Twenty minutes
	@$(MAKE) --no-print-directory images CONSUMERS=apache,haproxy,nginx,nodejs,php-fpm,puma,python-web,tomcat
	@scripts/e2e.sh -profile servers -out artifacts/servers -timeout 90m $(GO_TEST_FLAGS)

.PHONY: safe-delay
safe-delay: ## Measure how long requests go on arriving at Pods that are to go, recommend a delay, and prove it. A quarter of an hour
	@scripts/e2e.sh -long safe-delay -out artifacts/safe-delay $(GO_TEST_FLAGS)

# The reports that `make results` keeps, and `make article` reads: make results REPORTS='artifacts/consumers/report.json …'
REPORTS ?=
COMMIT ?= $(shell git rev-parse --short HEAD)
# The command that measured them.
MEASURED_BY ?= make consumers
.PHONY: results
results: ## Keep what reports say (REPORTS='…/report.json', measured at COMMIT by MEASURED_BY), and write RESULTS.md's and README's tables from all that is kept
	@go run -buildvcs=false ./e2e/results -commit '$(COMMIT)' -command '$(MEASURED_BY)' $(REPORTS)

.PHONY: article
article: ## Say which of the article's statements hold, by the reports in artifacts (REPORTS='…': by these) and those that are kept. Runs nothing
	@go run -buildvcs=false ./e2e/article $(REPORTS)

.PHONY: nightly
nightly: ## The regression job: a night's part of all strategies and disruptions, then the proof that what is measured follows the periods it depends on. An hour and a half
	@$(ALL) nightly-profile nightly-sync-period nightly-safe-delay nightly-knobs
.PHONY: nightly-profile nightly-sync-period nightly-safe-delay nightly-knobs
nightly-profile:
	@$(MAKE) --no-print-directory images CONSUMERS=traefik
	@scripts/e2e.sh -profile nightly -timeout 90m $(GO_TEST_FLAGS)
nightly-sync-period:
	@scripts/e2e.sh -long sync-period -out artifacts/sync-period $(GO_TEST_FLAGS)
nightly-safe-delay:
	@scripts/e2e.sh -long safe-delay-sync -out artifacts/safe-delay-sync $(GO_TEST_FLAGS)
nightly-knobs: # those of Kubernetes itself
	@scripts/consumers.sh -long knobs -run '^TestKnobs$$/-batch$$' -out artifacts/knobs $(GO_TEST_FLAGS)

.PHONY: soak
soak: ## What takes long or breaks things on purpose: faults in mid-run, kills, 1,000 requests/s, A/A, an hour of load, every knob. Over three hours
	@$(ALL) soak-faults soak-kills soak-truth soak-rate soak-aa soak-memory soak-knobs
.PHONY: soak-faults soak-kills soak-truth soak-rate soak-aa soak-memory soak-knobs
soak-faults:
	@$(MAKE) --no-print-directory images CONSUMERS=keda,traefik
	@scripts/e2e.sh -long faults -out artifacts/faults $(GO_TEST_FLAGS)
soak-kills:
	@scripts/e2e.sh -long kills -timeout 90m -out artifacts/kills $(GO_TEST_FLAGS)
soak-truth:
	@scripts/e2e.sh -long truth,instants,as-foreign,target -out artifacts/checks $(GO_TEST_FLAGS)
soak-rate:
	@scripts/e2e.sh -long soak-rate -out artifacts/soak-rate $(GO_TEST_FLAGS)
soak-aa:
	@scripts/e2e.sh -profile aa -repeat 20 -out artifacts/aa $(GO_TEST_FLAGS)
soak-memory:
	@scripts/e2e.sh -long soak-memory -timeout 90m -out artifacts/soak-memory $(GO_TEST_FLAGS)
soak-knobs:
	@scripts/consumers.sh -long knobs -out artifacts/knobs $(GO_TEST_FLAGS)

.PHONY: lint
lint: ## Linters, formatting, tidy modules, workflows
	@scripts/lint.sh

.PHONY: fmt
fmt: ## Format the Go code
	@scripts/lint.sh fix

.PHONY: node-image
node-image: ## Find or build the node image for kind and print its name (NODE_IMAGE=ref asks for this one)
	@scripts/docker.sh && go -C scripts/images run -buildvcs=false . $(if $(NODE_IMAGE),-image '$(NODE_IMAGE)') node

.PHONY: images
images: ## Find or build the images of programs that consumers need, and of servers (CONSUMERS=traefik: of these only)
	@scripts/docker.sh && go -C scripts/images run -buildvcs=false . components $(CONSUMERS)

.PHONY: archives
archives: ## Write the images of the sample app and the load generator into dist/, as OCI archives to push
	@go -C scripts/images run -buildvcs=false . archives '$(CURDIR)/dist'

.PHONY: clean
clean: ## Remove the cluster, the artifacts and the Docker daemon that was started for them; keep the caches
	@scripts/clean.sh

.PHONY: clean-cache
clean-cache: ## The same, and the caches: built tools, node image. They take minutes to build again
	@scripts/clean.sh cache
