#!/usr/bin/env bash
# Builds this tree on a machine with an NVIDIA GPU and runs everything that needs one.
#
#   tests/gpu/run.sh WHEELS [STAGE...]
#
# The machine needs Python with NumPy and PyTorch (CuPy too, if its part is to run), a C++ compiler,
# CMake, Ninja and the headers of CUDA and cuDNN, and no network. WHEELS is a folder of wheels for
# that Python: scikit-build-core, pathspec, packaging, cython, nvidia-cudnn-frontend (or set
# CUDNN_FRONTEND_PATH to its headers), pytest, pluggy, iniconfig, pygments, hypothesis,
# sortedcontainers, attrs, ml_dtypes, setuptools; with the two oneDNN packages the cpu provider is
# built too. What is there already need not be given.
#
# Stages, all in this order by default:
#   install      build the package and install it beside the wheels, with the prefix SITE (default
#                /tmp/mioconv); fails where the cuda provider does not work
#   providers    the provider's C functions, one by one
#   suite        the product's tests on torch.cuda and cupy tensors
#   gpu          streams, memory, graphs, several devices
#   sanitizer    compute-sanitizer on a part of the above
#   bench        times beside PyTorch's, into OUT (default bench/out)
set -euo pipefail
cd "$(dirname "$0")/../.."
wheels=$(realpath "$1")
shift
stages=("$@")
[ ${#stages[@]} -gt 0 ] || stages=(install providers suite gpu sanitizer bench)
SITE=$(realpath -m "${SITE:-/tmp/mioconv}")
OUT=${OUT:-bench/out}
PYTHON=${PYTHON:-python3}
# Where that Python puts what is installed with a prefix: distributions differ.
paths=$($PYTHON - "$SITE" <<'END'
import sys, sysconfig
names = {name: sys.argv[1] for name in ("base", "platbase")}
for kind in ("platlib", "scripts"):
    print(sysconfig.get_path(kind, sysconfig.get_preferred_scheme("prefix"), names))
END
)
{ read -r site; read -r scripts; } <<< "$paths"
export PYTHONPATH=$site${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
export PATH=$scripts:$PATH
mkdir -p "$OUT"
# What that Python has already is neither looked at nor removed.
pip="$PYTHON -m pip --disable-pip-version-check install -q --no-index --no-deps --no-compile
    --ignore-installed --prefix $SITE"

# torch names where the wheels of NVIDIA's libraries and their headers are.
export CUDNN_PATH=${CUDNN_PATH:-$($PYTHON -c '
import importlib.util as u, os
print(next(iter(u.find_spec("nvidia.cudnn").submodule_search_locations), ""))' 2>/dev/null || true)}

failed=()
run() {  # goes on after a failure, and remembers it
    echo "== $*"
    "$@" || failed+=("$1 ${*: -1}")
}

for stage in "${stages[@]}"; do
    echo "==== $stage ($(date +%T))"
    case $stage in
    install)
        rm -rf "$site"/mioconv "$site"/mioconv-*.dist-info
        $pip "$wheels"/*.whl
        $pip --no-build-isolation --config-settings=cmake.define.MIOCONV_WERROR=ON .
        (cd / && $PYTHON -m mioconv info && $PYTHON -c '
import mioconv
cuda = mioconv.providers()["cuda"]
if not (cuda.available and cuda.devices):
    raise SystemExit(f"the cuda provider does not work: {cuda.error}")')
        ;;
    providers) run $PYTHON -m pytest -q -p no:cacheprovider tests/providers ${PYTEST_ARGS:-} ;;
    suite) run $PYTHON -m pytest -q -p no:cacheprovider tests/gpu/test_operators.py ${PYTEST_ARGS:-} ;;
    gpu)
        run $PYTHON -m pytest -q -p no:cacheprovider tests/gpu \
            --ignore=tests/gpu/test_operators.py ${PYTEST_ARGS:-}
        ;;
    sanitizer)
        if sanitizer=$(command -v compute-sanitizer); then
            for tool in memcheck initcheck; do
                run "$sanitizer" --tool $tool --error-exitcode 9 \
                    $PYTHON tests/gpu/sanitized.py
            done
        else
            echo "compute-sanitizer is not installed: not run"
        fi
        ;;
    bench) run $PYTHON -m bench.gpu --out "$OUT" ;;
    *) echo "unknown stage: $stage" >&2; exit 2 ;;
    esac
done
echo "==== end ($(date +%T))"
[ ${#failed[@]} -eq 0 ] || { printf 'failed: %s\n' "${failed[@]}"; exit 1; }
