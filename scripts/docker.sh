#!/usr/bin/env bash
# Makes sure that a Docker works which can run kind's node containers.
#
#   scripts/docker.sh        a Docker that answers is used as it is; a stopped one is started; where there is none, on Debian or
#                            Ubuntu as root, one is installed. Safe to call at any time, quick when all is well.
#   scripts/docker.sh stop   stops the daemon that this script started by hand, and no other.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
state=/run/zerodrop log=/var/log/zerodrop-dockerd.log
runtime=/usr/local/libexec/zerodrop/docker-runc-bounded # outside the checkout: dockerd must find it when the checkout is gone

say() { printf 'docker: %s\n' "$*" >&2; }
die() { printf 'docker: error: %s\n' "$*" >&2 && exit 1; }
answers() { timeout 20 docker info >/dev/null 2>&1; }
root() { [[ $EUID -eq 0 ]]; }
systemd() { [[ -d /run/systemd/system ]]; } # what sd_booted(3) asks
runs() { [[ $(cat "/proc/${2:-none}/comm" 2>/dev/null) == "$1" ]]; } # NAME PID

debian() { [[ " $(. /etc/os-release 2>/dev/null && echo "${ID:-} ${ID_LIKE:-}") " =~ \ (debian|ubuntu)\  ]]; }

# Waits until Docker answers, or the daemon's process $1 (if given) is gone, or 60 s are over.
wait_ready() {
	local deadline=$((SECONDS + 60))
	until answers; do
		if [[ -n ${1:-} && ! -d /proc/$1 ]] || ((SECONDS >= deadline)); then
			return 1
		fi
		sleep 0.2
	done
}

install_packages() { # PACKAGE…
	debian || die "Docker (or what it needs: $*) is missing, and this isn't Debian or Ubuntu. Install Docker Engine: https://docs.docker.com/engine/install/"
	root || die "Docker (or what it needs: $*) is missing, and only root may install it. Run: sudo apt-get install $*"
	say "installing $* with apt-get"
	local out
	# Several minutes at most on a slow mirror; a lock held by another apt is waited for rather than tripped over.
	out=$({ apt-get -o DPkg::Lock::Timeout=300 update &&
		DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "$@"; } 2>&1 </dev/null) ||
		die "apt-get could not install $*:"$'\n'"$(tail -n 15 <<<"$out")"
}

# What a daemon that was killed leaves behind: the next one would take the stale files for a daemon or containerd that lives.
remove_leftovers() {
	local pidfile
	for pidfile in /var/run/docker.pid /var/run/docker/containerd/containerd.pid; do
		if [[ -s $pidfile ]] && ! runs "$(basename "$pidfile" .pid | sed 's/^docker$/dockerd/')" "$(<"$pidfile")"; then
			say "removing the stale $pidfile"
			rm -f "$pidfile"
		fi
	done
	if [[ -S /run/containerd/containerd.sock ]] && ! pgrep -x containerd >/dev/null; then
		say "removing the stale /run/containerd/containerd.sock"
		rm -f /run/containerd/containerd.sock
	fi
}

start_daemon() {
	if systemd; then
		say "starting it through systemd"
		systemctl start docker || die "systemctl start docker failed; see: journalctl -u docker"
		wait_ready || die "Docker doesn't answer after 60 s:"$'\n'"$(journalctl -u docker -n 20 --no-pager 2>&1)"
		return
	fi
	remove_leftovers
	say "starting dockerd by hand (no systemd here), log in $log; stop it with: scripts/docker.sh stop"
	# In its own session, so that neither the end of this script nor a Ctrl-C in this terminal reaches it. 9 is our lock.
	setsid dockerd >"$log" 2>&1 </dev/null 9>&- &
	echo $! >"$state/dockerd.pid"
	wait_ready $! || die "dockerd doesn't answer; the end of $log:"$'\n'"$(tail -n 20 "$log")"
}

# CAP_SYS_RESOURCE is bit 24 of the bounding set. Without it plain runc can't run privileged containers (see docker-runc-bounded).
lacks_sys_resource() {
	local bounding
	bounding=$(sed -n 's/^CapBnd:\t*//p' /proc/self/status)
	(((16#$bounding >> 24 & 1) == 0))
}

# Can a privileged container start? Needs no image from anywhere: in an empty one, that the command is missing is the good answer.
privileged_works() {
	docker image inspect zerodrop/empty >/dev/null 2>&1 || tar -cf - -T /dev/null | docker import - zerodrop/empty >/dev/null ||
		die "docker import fails"
	privileged_answer=$(docker run --rm --privileged --network none zerodrop/empty /none 2>&1) || true
	[[ ${privileged_answer,,} == *"/none"*"no such file or directory"* ]]
}

bound_runtime() {
	if [[ $(docker info --format '{{.DefaultRuntime}}') == zerodrop-bounded ]] && cmp -s "$here/docker-runc-bounded" "$runtime" && type -P jq >/dev/null; then
		return
	fi
	privileged_works && return
	root || die "privileged containers can't run: this host lacks CAP_SYS_RESOURCE. Run scripts/docker.sh as root to register a runtime that copes"
	[[ -s /var/run/docker.pid ]] || die "privileged containers can't run, and the daemon isn't on this machine"
	say "this host lacks CAP_SYS_RESOURCE: registering the runtime zerodrop-bounded in /etc/docker/daemon.json"
	type -P jq >/dev/null || install_packages jq
	install -D -m 755 "$here/docker-runc-bounded" "$runtime"
	local config=/etc/docker/daemon.json old='{}' new
	[[ ! -s $config ]] || old=$(<"$config")
	new=$(jq --arg path "$runtime" '.runtimes["zerodrop-bounded"] = {path: $path} | .["default-runtime"] = "zerodrop-bounded"' <<<"$old") ||
		die "$config isn't JSON"
	mkdir -p /etc/docker
	printf '%s\n' "$new" >"$config.new" && mv "$config.new" "$config"
	kill -HUP "$(<"/var/run/docker.pid")" # reload: running containers don't notice
	local deadline=$((SECONDS + 20))
	until [[ $(docker info --format '{{.DefaultRuntime}}') == zerodrop-bounded ]]; do
		((SECONDS < deadline)) || die "dockerd didn't take over $config"
		sleep 0.2
	done
	privileged_works || die "privileged containers fail even with the runtime zerodrop-bounded:"$'\n'"$privileged_answer"
}

up() {
	if ! answers; then
		[[ -z ${DOCKER_HOST:-} ]] || die "the Docker at DOCKER_HOST=$DOCKER_HOST doesn't answer: $(docker info 2>&1 | tail -n 1)"
		if ! root; then
			[[ ! -S /var/run/docker.sock ]] || die "$(docker info 2>&1 | tail -n 1). If a daemon runs: are you in the group docker?"
			die "no Docker daemon answers. Install and start Docker (https://docs.docker.com/engine/install/); on Debian, root may run scripts/docker.sh for that"
		fi
		mkdir -p "$state"
		exec 9>"$state/docker.lock" && flock 9 # two at once would start two daemons
		if pgrep -x dockerd >/dev/null && wait_ready; then
			: # it was just starting
		elif ! answers; then
			# A client alone (Docker Desktop's, say) is no daemon.
			type -P dockerd >/dev/null || install_packages docker.io iptables jq
			answers || start_daemon
		fi
	fi
	! lacks_sys_resource || bound_runtime
}

stop() {
	local pid deadline=$((SECONDS + 30))
	pid=$(cat "$state/dockerd.pid" 2>/dev/null) || { say "this script has started no daemon" && return; }
	if runs dockerd "$pid"; then
		kill "$pid"
		while runs dockerd "$pid"; do
			((SECONDS < deadline)) || die "dockerd ($pid) didn't stop within 30 s; its log is $log"
			sleep 0.2
		done
		say "stopped dockerd ($pid)"
	fi
	rm -f "$state/dockerd.pid"
}

case ${1:-up} in
up | stop) "${1:-up}" ;;
*) die "unknown command $1; known: up (the default), stop" ;;
esac
