#!/bin/sh
# Rolls an overlay out, or an earlier image back:
#
#   deploy/kubernetes/roll-out.sh staging|production IMAGE[@DIGEST|:TAG] [--hand-over]
#
# Without --hand-over the engines stop, the schema is brought up, and they start again: what a version with another schema needs.
# With it the standby is replaced first, then the writer, whose standby takes over: for versions that share a schema.
set -eu
overlay=${1:?staging or production} image=${2:?the image} way=${3:-}
cd "$(dirname "$0")"
[ -d "overlays/$overlay" ] || { echo "error: there is no overlay $overlay" >&2; exit 2; }
[ -z "$way" ] || [ "$way" = --hand-over ] || { echo "error: $way is no option" >&2; exit 2; }
kube() { kubectl --namespace "trade-engine-$overlay" "$@"; }

rendered=$(mktemp)
trap 'rm -f "$rendered"' EXIT
# The image is put in after rendering, so that no file changes: every place says the overlay's own.
placed=$(kubectl kustomize "overlays/$overlay" | sed -n 's/^ *image: \(.*trade-engine.*\)$/\1/p' | sort -u)
[ "$(printf '%s\n' "$placed" | wc -l)" = 1 ] || { echo "error: the overlay names several images" >&2; exit 1; }
kubectl kustomize "overlays/$overlay" | sed "s|^\( *image: \)$placed\$|\1$image|" >"$rendered"

if [ -z "$way" ]; then
    if kube get statefulset trade-engine >/dev/null 2>&1; then
        kube scale statefulset trade-engine --replicas=0
        kube wait pod --for=delete --selector app.kubernetes.io/component=engine --timeout=120s
    fi
    kube delete job trade-engine-migrate --ignore-not-found --wait
    kubectl apply --filename "$rendered" --selector app.kubernetes.io/component!=engine
    kube wait job trade-engine-migrate --for=condition=complete --timeout=1800s
    kubectl apply --filename "$rendered"
else
    kube delete job trade-engine-migrate --ignore-not-found --wait
    # Nothing that runs changes by this: pods are replaced when they are deleted.
    kubectl apply --filename "$rendered"
    for ready in False True; do
        for pod in $(kube get pods --selector app.kubernetes.io/component=engine --output \
            "jsonpath={range .items[?(@.status.conditions[?(@.type=='Ready')].status=='$ready')]}{.metadata.name}{'\n'}{end}"); do
            kube delete pod "$pod" --wait
            # It lives again, as writer or standby, when it is started.
            kube wait pod "$pod" --for=jsonpath='{.status.containerStatuses[0].started}'=true --timeout=180s
        done
    done
fi

# One of the two takes orders.
tries=90
until kube get pods --selector app.kubernetes.io/component=engine --output \
    "jsonpath={.items[*].status.conditions[?(@.type=='Ready')].status}" | grep -qw True; do
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] || { echo "error: no engine takes orders; kubectl logs says why" >&2; exit 1; }
    sleep 2
done
kube get pods --output wide
