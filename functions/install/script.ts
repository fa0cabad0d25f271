/**
 * The installer, `curl …/install.sh | sudo sh -s -- …`. Everything in it comes from the deployment: origin, version, checksums. Nothing of
 * the request does, so that nobody can make this host serve a script of theirs. It is one function that is called in the last line: a
 * download that breaks off runs nothing.
 */
import type { Arch, Archive } from './downloads.ts'

export interface ScriptInput {
  /** `https://…`, as the deployment has it. */
  readonly origin: string
  readonly version: string
  readonly archives: Readonly<Record<Arch, Archive>>
}

const SAFE = { origin: /^https:\/\/[A-Za-z0-9.:[\]-]{1,300}$/, version: /^[0-9A-Za-z.+-]{1,64}$/ }

export function installScript({ origin, version, archives }: ScriptInput): string {
  // They go into a shell script as they are: what could end a word is a mistake of the deployment.
  if (!SAFE.origin.test(origin) || !SAFE.version.test(version))
    throw new Error('origin or version cannot be written into a script')
  for (const { sha256 } of Object.values(archives))
    if (!/^[0-9a-f]{64}$/.test(sha256)) throw new Error('a checksum has another form')
  return `#!/bin/sh
# Installs the Postern agent ${version} from ${origin}
#
#   curl -fsS ${origin}/install.sh | sudo sh -s -- --token-file /root/postern.token
#   curl -fsS ${origin}/install.sh | sudo sh -s -- --iam web-fleet
#
#   --token-file FILE   join with the token in this file, which is copied to /etc/postern/token
#   --iam NAME          join as this machine's AWS role, by the token of this name: no secret
#   --ca-pin PIN        pin of the cluster's CA, as postern tokens add prints it; may be repeated
#   --proxy-server H:P  default: the host this script came from
#   --type LIST         services: node, app (default: node)
#   --nodename NAME     default: the host name
#   --labels LIST       as env=prod,team=sre
#   --ca-file FILE      certificate to trust for the download, where the system's roots do not
#   --prefix DIR        install below DIR and start nothing: for images
#   --no-start          install, and leave the start to you
#
# An existing /etc/postern.yaml is kept as it is. Running it again updates.
set -eu

fail() {
  echo "install.sh: $*" >&2
  exit 1
}

main() {
  origin='${origin}'
  version='${version}'
  prefix='' token_file='' iam='' ca_file='' start=yes proxy_server="\${origin#https://}"
  type='' nodename='' labels='' pins=''
  while [ $# -gt 0 ]; do
    case $1 in
      --no-start) start=no; shift; continue ;;
      --token-file|--iam|--ca-pin|--proxy-server|--type|--nodename|--labels|--ca-file|--prefix) ;;
      *) fail "unknown option $1" ;;
    esac
    [ $# -ge 2 ] || fail "$1 needs a value"
    case $1 in
      --token-file) token_file=$2 ;;
      --iam) iam=$2 ;;
      --ca-pin) case $2 in *[!A-Za-z0-9:]*|'') fail '--ca-pin: use sha256: and 64 hexadecimal digits' ;; esac; pins="$pins --ca-pin $2" ;;
      --proxy-server) proxy_server=$2 ;;
      --type) type=$2 ;;
      --nodename) nodename=$2 ;;
      --labels) labels=$2 ;;
      --ca-file) ca_file=$2 ;;
      --prefix) prefix=$2; start=no ;;
    esac
    shift 2
  done
  config=$prefix/etc/postern.yaml
  if [ -n "$token_file" ] && [ -n "$iam" ]; then fail 'use --token-file or --iam, not both'; fi
  [ -e "$config" ] || [ -n "$token_file$iam" ] || fail 'give --token-file FILE or --iam NAME'
  [ -z "$token_file" ] || [ -r "$token_file" ] || fail "$token_file cannot be read"
  [ -n "$prefix" ] || [ "$(id -u)" -eq 0 ] || fail 'run it as root: … | sudo sh -s -- …'
  [ "$(uname -s)" = Linux ] || fail 'agents run on Linux'
  case $(uname -m) in
    x86_64|amd64) arch=x64 sum=${archives.x64.sha256} ;;
    aarch64|arm64) arch=arm64 sum=${archives.arm64.sha256} ;;
    *) fail "there is no agent for $(uname -m); x86_64 and aarch64 are supported" ;;
  esac
  for tool in curl tar gzip sha256sum; do
    command -v "$tool" >/dev/null 2>&1 || fail "$tool is not installed"
  done

  short=$(printf %.12s "$sum")
  root=$prefix/opt/postern
  home=$root/$version-$short
  if [ ! -x "$home/bin/postern" ]; then
    mkdir -p "$root"
    work=$(mktemp -d "$root/.install.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    echo "downloading the agent $version for $arch" >&2
    if [ -n "$ca_file" ]; then set -- --cacert "$ca_file"; else set --; fi
    curl -fsSL --proto '=https' --max-time 600 "$@" -o "$work/agent.tar.gz" "$origin/v1/agent/postern-agent-$arch.tar.gz" ||
      fail 'the download failed'
    echo "$sum  $work/agent.tar.gz" | sha256sum -c - >/dev/null 2>&1 ||
      fail 'the download is not the agent that this script is for: nothing was installed'
    tar -xzf "$work/agent.tar.gz" -C "$work" --no-same-owner
    chmod 755 "$work/postern"
    rm -rf "$home"
    mv "$work/postern" "$home"
  fi
  ln -sfn "$version-$short" "$root/current.next"
  mv -fT "$root/current.next" "$root/current"
  mkdir -p "$prefix/usr/local/bin" "$prefix/etc/postern"
  ln -sfn /opt/postern/current/bin/postern "$prefix/usr/local/bin/postern"

  if [ -n "$token_file" ]; then
    (umask 077 && cat "$token_file" > "$prefix/etc/postern/token.next")
    mv -f "$prefix/etc/postern/token.next" "$prefix/etc/postern/token"
  fi
  if [ ! -e "$config" ]; then
    if [ -n "$token_file" ]; then set -- --auth-token /etc/postern/token; else set -- --join-method iam --token-name "$iam"; fi
    [ -z "$type" ] || set -- "$@" --type "$type"
    [ -z "$nodename" ] || set -- "$@" --nodename "$nodename"
    [ -z "$labels" ] || set -- "$@" --labels "$labels"
    # shellcheck disable=SC2086 -- one word for each pin, of letters and digits
    (umask 077 && "$home/bin/postern" agent configure --proxy-server "$proxy_server" $pins "$@" > "$config.next") ||
      { rm -f "$config.next"; exit 1; }
    mv "$config.next" "$config"
  fi
  if [ "$start" = yes ] && [ -d /run/systemd/system ]; then
    "$home/bin/postern" agent install -c /etc/postern.yaml
  elif [ -z "$prefix" ]; then
    echo 'installed; start it with: postern agent start -c /etc/postern.yaml' >&2
  else
    echo "installed below $prefix" >&2
  fi
}

main "$@"
`
}
