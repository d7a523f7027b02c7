# beamdock 0.1.0: a production image of an Erlang release. Yours to edit. SPDX-License-Identifier: Apache-2.0
# `invoke build` drives it; `invoke build --dry-run` prints the plain `docker buildx build` command that does the same.
#
#   git, deps      two small stages that tasks.py fills from the host, so that only what matters is in the cache keys
#   builder        the toolchain and the compiled dependencies
#   prod_compiled  the project, compiled
#   releaser       the release, packed, unpacked and looked at
#   runner         the image: a plain Debian with the release on it
#
# Longer scripts are files (COPY <<) and not in a RUN, which would print all of its text when it fails.

# Both must be of one Debian or Ubuntu release; the build says so if they are not.
ARG BUILD_BASE=erlang:27.3.4.15
ARG RUN_BASE=debian:bookworm-slim

# What the version reads of the history. Filled by --build-context git=DIR, empty without it.
FROM scratch AS git

# What decides the dependencies. Filled by --build-context deps=DIR; without it, the files as they are.
FROM scratch AS deps
COPY rebar.config rebar.loc[k] rebar.config.scrip[t] /

# A company's own certificate authority. Filled by --build-context authority=DIR, with *.crt files in it.
FROM scratch AS authority

# Makes either base ready, the builder's or the runner's.
FROM scratch AS scripts
COPY --chmod=755 <<'SH' /prepare
#!/bin/sh
# prepare builder|runner BASE PACKAGES MIRROR
set -eu
fail() {
  echo "error: $1"
  echo "hint: $2"
  exit 1
}
[ -e /etc/debian_version ] ||
  fail "$2 is $(. /etc/os-release && echo "$PRETTY_NAME"), not Debian or Ubuntu: a release needs the C library it was built with" \
    '`build_base: erlang:27` and `run_base: debian:bookworm-slim` in invoke.yaml fit together'
packages=$3
bundle=/etc/ssl/certs/ca-certificates.crt
if [ "$1" = builder ]; then
  command -v git >/dev/null || packages="$packages git"
  [ -e $bundle ] || packages="$packages ca-certificates"
else
  # crypto needs OpenSSL's library, which some slim images lack.
  [ -n "$(find /usr/lib /lib -name 'libcrypto.so.*' 2>/dev/null)" ] || packages="$packages openssl"
fi
trust=''
if [ -n "$(ls /authority/*.crt 2>/dev/null)" ]; then
  trust="-o Acquire::https::CAInfo=$bundle"
  mkdir -p /etc/ssl/certs /usr/local/share/ca-certificates
  cp /authority/*.crt /usr/local/share/ca-certificates
  cat /authority/*.crt >> $bundle
fi
if [ -n "$packages" ]; then
  rm -f /etc/apt/apt.conf.d/docker-clean
  export DEBIAN_FRONTEND=noninteractive
  # Another mirror, for these two commands only: what the image says stays as it was.
  [ -z "$4" ] || find /etc/apt -name '*.list' -o -name '*.sources' | while IFS= read -r file; do
    sed -i.theirs -E "s#https?://[a-z.]+\.(debian\.org/debian|ubuntu\.com/ubuntu)#${4%/}#" "$file"
  done
  apt-get update -qq -o APT::Update::Error-Mode=any $trust || fail 'apt-get update failed' 'its output is above: is `network`, or `debian_mirror`, in invoke.yaml the right one?'
  apt-get install -qq -y --no-install-recommends $trust $packages ||
    fail "apt-get can't install: $packages" 'its output is above: are these the names in this release of Debian?'
  find /etc/apt -name '*.theirs' | while IFS= read -r file; do mv "$file" "${file%.theirs}"; done
fi
if [ "$1" = builder ]; then
  # Some hooks and overlays have _build written out.
  ln -s "$REBAR_BASE_DIR" _build
  if [ -n "$trust" ]; then
    update-ca-certificates
    mkdir -p /root/.config/rebar3
    echo "{ssl_cacerts_path, \"$bundle\"}." > /root/.config/rebar3/rebar.config
  fi
fi
SH

# The toolchain. Made anew when the base or the packages change.
FROM ${BUILD_BASE} AS base
ARG PROJECT=beamdock
ARG BUILD_BASE
ARG BUILD_PACKAGES=""
ARG DEBIAN_MIRROR=""
ENV REBAR_BASE_DIR=/app/_build LANG=C.UTF-8
WORKDIR /app/src
RUN --mount=from=scripts,target=/scripts --mount=from=authority,target=/authority \
    --mount=type=cache,id=${PROJECT}-apt-lists,sharing=locked,target=/var/lib/apt/lists \
    --mount=type=cache,id=${PROJECT}-apt,sharing=locked,target=/var/cache/apt \
    /scripts/prepare builder "$BUILD_BASE" "$BUILD_PACKAGES" "$DEBIAN_MIRROR"
COPY --chmod=755 <<'SH' /usr/local/bin/build
#!/bin/sh
# build ARGUMENT...: rebar3 as this repo wants it. BUILD_ENV has lines of NAME='VALUE'; REBAR3 may be a file in the repo.
set -eu
set -a
eval "${BUILD_ENV:-}"
set +a
case ${REBAR3:=rebar3} in */*) exec escript "$REBAR3" "$@" ;; esac
if ! command -v "$REBAR3" >/dev/null; then
  echo 'error: the builder has no rebar3'
  echo 'hint: `build_base: erlang:27`, or `build_packages: [rebar3]`, in invoke.yaml'
  exit 1
fi
exec "$REBAR3" "$@"
SH

# The dependencies, compiled. Made anew when what decides them changes, never for a change of the project's sources.
FROM base AS builder
ARG PROFILE=prod
ARG REBAR3=rebar3
ARG BUILD_ENV=""
COPY --from=deps / ./
RUN --mount=type=cache,id=${PROJECT}-hex,sharing=locked,target=/root/.cache/rebar3 \
    --mount=type=secret,id=hex.config,target=/root/.config/rebar3/hex.config \
    --mount=type=ssh \
    build as "$PROFILE" compile --deps_only

# The project, compiled. Made anew when its sources change. They are copied from the bind mount, so that compilers and
# hooks may write among them, and the next stage finds the very files that were compiled and compiles none again.
FROM builder AS prod_compiled
ARG PREBUILD=""
RUN --mount=target=/context \
    --mount=type=cache,id=${PROJECT}-hex,sharing=locked,target=/root/.cache/rebar3 \
    cp -a /context/. . && sh -euc "$PREBUILD" && build as "$PROFILE" compile

# The release, packed by relx and unpacked: tar renames the boot script and takes only what the release names. Made anew
# when the project or the version changes. /out becomes the image's root.
FROM prod_compiled AS releaser
ARG RELEASE=""
COPY --chmod=755 <<'SH' /usr/local/bin/pack
#!/bin/sh
set -eu
fail() {
  echo "error: $1"
  echo "hint: $2"
  exit 1
}
if [ -e /git/HEAD ]; then
  cp -a /git .git
  git config --global --add safe.directory '*'
fi
build as "$PROFILE" tar ${RELEASE:+--relname "$RELEASE"} || {
  [ -n "$RELEASE" ] || echo 'hint: where rebar.config has several releases, --build-arg RELEASE=NAME chooses one'
  exit 1
}
rm -rf .git

set -- "$REBAR_BASE_DIR/$PROFILE"/rel/*/*.tar.gz
name=$(basename "$(dirname "$1")")
home=/opt/${RELEASE:-release}
mkdir -p "/out$home" /tarball
tar -xzf "$1" -C "/out$home"
mv "$1" /tarball
cd "/out$home"
ls -d erts-* >/dev/null 2>&1 ||
  fail "the release has no Erlang runtime in it ($PROFILE profile without include_erts)" \
    "rebar.config, inside {profiles, [{$PROFILE, [{relx, [ ... ]}]}]}: add {include_erts, true}"
version=$(cut -d ' ' -f 2 releases/start_erl.data)
[ "$version" != 0.0.0 ] ||
  fail "the release's version is 0.0.0, which is what relx writes when it can't read the history" \
    '`invoke build` passes it, and `invoke build --dry-run` prints what to add here: --build-context git=DIR'
[ ! -d "releases/$version
" ] ||
  fail "the version, $version, ends in a newline, and such a release does not boot" "rebar.config, in {cmd, \"...\"}: add | tr -d '\\\\n'"
[ -e "releases/$version/start.boot" ] ||
  fail "the release has no boot script, releases/$version/start.boot" "does something in rebar.config's overlay remove it?"
[ -x "bin/$name" ] ||
  fail "the release has no start script, bin/$name" 'rebar.config, inside {relx, [ ... ]}: add {extended_start_script, true}'

# The entry point. A node without -setcookie and its remote consoles read their cookie from this file: a random one, or
# what RELX_COOKIE says.
cat > /out/release <<ENTRY
#!/bin/sh
set -eu
cookie=\${HOME:-/tmp}/.erlang.cookie
if [ -n "\${RELX_COOKIE:-}" ] || [ ! -e "\$cookie" ]; then
  umask 077
  printf %s "\${RELX_COOKIE:-\$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')}" > "\$cookie.\$\$"
  chmod 400 "\$cookie.\$\$"
  mv -f "\$cookie.\$\$" "\$cookie"
  umask 022
fi
exec $home/bin/$name "\$@"
ENTRY
chmod 755 /out/release
SH

RUN --mount=from=git,target=/git \
    --mount=type=cache,id=${PROJECT}-hex,sharing=locked,target=/root/.cache/rebar3 \
    pack

# The packed release alone, for `invoke build --tarball DIR`.
FROM scratch AS tarball
COPY --from=releaser /tarball/ /

# What the release stands on. Made anew when the base or the packages change.
FROM ${RUN_BASE} AS runner_base
ARG PROJECT=beamdock
ARG RUN_BASE
ARG RUNTIME_PACKAGES=""
ARG DEBIAN_MIRROR=""
RUN --mount=from=scripts,target=/scripts --mount=from=authority,target=/authority \
    --mount=type=cache,id=${PROJECT}-apt-lists,sharing=locked,target=/var/lib/apt/lists \
    --mount=type=cache,id=${PROJECT}-apt,sharing=locked,target=/var/cache/apt \
    /scripts/prepare runner "$RUN_BASE" "$RUNTIME_PACKAGES" "$DEBIAN_MIRROR"
# TLS clients look here for the authorities they trust.
COPY --from=builder /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt

# The release, looked at where it will run: every ELF file of it must find its libraries.
FROM runner_base AS checked
COPY --chmod=755 <<'SH' /usr/local/bin/check
#!/bin/sh
set -eu
debian() { (. "$1" && echo "$ID ${VERSION_CODENAME:-${VERSION_ID:-}}"); }
built=$(debian /releaser/etc/os-release)
here=$(debian /etc/os-release)
if [ "$built" != "$here" ]; then
  echo "error: the release was built on $built and would run on $here ($RUN_BASE)"
  echo 'hint: `build_base` and `run_base` in invoke.yaml must be of one distribution release'
  exit 1
fi
cd /opt/*
elf=$(printf '\177ELF')
LC_ALL=C grep -rlae "^$elf" --exclude='*.beam' . > /tmp/files || true
while IFS= read -r file; do
  [ "$(head -c 4 "$file" | tr -d '\0')" = "$elf" ] || continue
  ldd "$file" 2>&1 | grep 'not found' | while IFS= read -r line; do
    library=$(echo "$line" | sed -n 's/^[[:space:]]*\([^ ]*\) => not found.*/\1/p')
    echo "error: ${file#./} needs ${library:-${line#*: }}, which $RUN_BASE lacks"
    # The builder's dpkg knows which package has it.
    package=$(grep -l "/$library\$" /releaser/var/lib/dpkg/info/*.list 2>/dev/null | sed -n '1s/.*\///; 1s/\.list$//; 1s/:.*//p; 1p' | head -n 1)
    if [ -n "$package" ]; then
      echo "hint: \`runtime_packages: [$package]\` under \`beamdock:\` in invoke.yaml"
    else
      echo "hint: add the Debian package that has it to \`runtime_packages\` in invoke.yaml, or the folder of the library to the file's RPATH"
    fi
  done
done < /tmp/files > /tmp/missing
cat /tmp/missing
[ ! -s /tmp/missing ]
mkdir /passed
SH

RUN --mount=from=releaser,target=/releaser \
    --mount=from=releaser,source=/out/opt,target=/opt \
    check

# The image. Its last COPY copies nothing: it makes the image wait for the checks.
FROM runner_base AS runner
ARG RELEASE=""
WORKDIR /opt/${RELEASE:-release}
# All that is written goes here: what the start script makes of the templates, and the cookie.
ENV RELX_OUT_FILE_PATH=/tmp HOME=/tmp LANG=C.UTF-8
# Defaults of the variables in sys.config.src and vm.args.src; `invoke run --env NAME=VALUE` overrides them. Edit freely.
ENV LOGGER_LEVEL=info \
    HTTP_PORT=8080 \
    DNS_PORT=8053
COPY --from=releaser /out /
COPY --from=checked /passed/ /
USER 1000:1000
ENTRYPOINT ["/release"]
CMD ["foreground"]
