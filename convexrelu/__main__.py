"""The command line: ``python -m convexrelu demo | fit | certify | verify | info``.

Letters: `X` (n, d) data, `y` (n,) targets, `lam` weight decay; `W` (d, m), `b` (m,), `v` (m,) weights of a network.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from convexrelu import __version__
from convexrelu.arrays import Array
from convexrelu.errors import ConvexReLUError, InvalidInputError
from convexrelu.table import Columns, read_columns

if TYPE_CHECKING:
    from convexrelu.certificate import Certificate
    from convexrelu.losses import Loss
    from convexrelu.network import Network
    from convexrelu.problem import TrainingProblem
    from convexrelu.result import Status

MODES = ("none", "penalized", "free")
LOSS_NAMES = ("squared", "absolute", "huber", "quantile", "logistic", "hinge", "squared_hinge", "softmax")
INTERRUPTED = 130  # the exit code shells give to Ctrl-C
DEFAULT_FRACTION = 0.01  # of the weight decay above which the optimal network is empty
GD_WIDTH, GD_STEPS, GD_SEEDS = 50, 3000, 5


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code: 0 success, 1 the solver failed, 2 bad input, 130 interrupted."""
    try:
        options = _parser().parse_args(argv)
        code: int = options.run(options)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # The reader (`| head`) has left. Point stdout elsewhere, or the flush at exit would fail once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return _complain("interrupted", INTERRUPTED)
    except OSError as error:
        return _complain(f"{error.filename or 'file'}: {error.strerror or error}", 2)
    except ConvexReLUError as error:
        return _complain(str(error), 2)


def _complain(message: str, code: int) -> int:
    print("convexrelu: error:", " ".join(message.split()), file=sys.stderr)
    return code


# -- commands ---------------------------------------------------------------------------------------------------------


def _demo(options: argparse.Namespace) -> int:
    from sklearn.datasets import load_diabetes

    import convexrelu as cr

    data = load_diabetes()
    x, y = data.data[:, [data.feature_names.index("bmi")]], data.target
    X, Y = (x - x.mean()) / x.std(), (y - y.mean()) / y.std()
    problem = cr.TrainingProblem(X, Y)
    problem = problem.with_weight_decay(DEFAULT_FRACTION * problem.max_weight_decay())
    print(f"diabetes ({len(X)} patients): disease progression from body mass index, both standardized")
    print(f"weight decay {problem.weight_decay:.6g} ({DEFAULT_FRACTION:g} of the maximum), penalized bias")
    print("\nconvexrelu", flush=True)
    start = time.perf_counter()
    result = cr.solve(problem, patterns="enumerate")
    elapsed = time.perf_counter() - start
    _print_certificate(result.certificate, result.network)
    _print_rows({"status": result.status.name, "patterns": len(result.patterns), "time": f"{elapsed:.2f} s"})
    code = _exit_code(result.status)
    if code == 0:
        _compare_with_gradient_descent(problem, result.certificate.lower_bound)
    return code


def _fit(options: argparse.Namespace) -> int:
    import convexrelu as cr

    _check_out(options.out)
    data, loss = read_columns(options.data, options.target, options.sample_weight), _loss(options.loss)
    scaling = data.scaling(targets_too=not loss.is_classification) if options.standardize else None
    problem = _problem(data.scaled(scaling), options.weight_decay, loss, _modes(options))
    result = cr.solve(problem, **_given(options, "patterns", "backend", "tol", "time_limit"))
    _print_data(problem, data)
    _print_certificate(result.certificate, result.network)
    _print_rows({"status": f"{result.status.name}: {result.status.advice}", "patterns": len(result.patterns)})
    if options.out is not None:
        about = {
            "features": data.features,
            "target": ", ".join(data.targets),
            "sample_weight": data.weight_name,
            "scaling": scaling,
            "weight_decay": problem.weight_decay,
            "loss": options.loss,
        }
        about |= {name: getattr(problem, name) for name in ("bias", "output_bias", "skip")}
        replace(result.network, metadata=about).save(options.out)
        _print_rows({"saved": options.out})
    return _exit_code(result.status)


def _certify(options: argparse.Namespace) -> int:
    import convexrelu as cr

    network = cr.Network.load(options.network)
    about = network.metadata
    data = _data_of(options, about, options.sample_weight or about.get("sample_weight"))
    lam = about.get("weight_decay") if options.weight_decay is None else options.weight_decay
    if lam is None:
        raise InvalidInputError(f"{options.network} does not record its weight decay; write `--weight-decay LAM`.")
    modes = {name: about[name] for name in ("bias", "output_bias", "skip") if name in about} | _modes(options)
    loss = _loss(options.loss or about.get("loss", "squared"))
    problem = _problem(data, lam, loss, modes)
    certificate = cr.certify(problem, network, **_given(options, "tol", "time_limit"))
    _print_data(problem, data)
    _print_certificate(certificate, network)
    return 0


def _verify(options: argparse.Namespace) -> int:
    import convexrelu as cr
    from convexrelu.interop.files import read_file

    if options.model.endswith(".npz"):
        model: Any = cr.Network.load(options.model)
    else:
        model = read_file(options.model, _layers(options.layers), options.activation)
    data = _data_of(options, model.metadata, options.sample_weight)
    problem = _stated_problem(options, data)
    verification = cr.verify(problem, model, **_given(options, "tol", "time_limit"))
    print(verification.report())
    if options.reduction is not None:
        stated = f"{options.weight_decay:.6g} with reduction {options.reduction!r}"
        print(f"  note: the stated weight decay, {stated}, is {problem.weight_decay:.6g} of the sum of losses")
    if options.out is not None:
        replace(verification.improved, metadata=verification.network.metadata).save(options.out)
        _print_rows({"saved": options.out})
    return 0


def _layers(text: str | None) -> dict[str, str] | None:
    """What a state dict calls its layers: hidden=0,output=2."""
    if text is None:
        return None
    pairs = [part.partition("=") for part in text.split(",")]
    if not all(role and name for role, _, name in pairs):
        raise InvalidInputError(f"`--layers {text}` must look like hidden=0,output=2: names without '.weight'.")
    return {role.strip(): name.strip() for role, _, name in pairs}


def _stated_problem(options: argparse.Namespace, data: Columns) -> TrainingProblem:
    """The objective that the options state: this package's own, or PyTorch's with a reduction."""
    import convexrelu as cr

    _check_out(options.out)
    if options.weight_decay is None:
        raise InvalidInputError("`--weight-decay LAM` is missing: the one the network was trained with.")
    chosen: dict[str, Any] = _modes(options) | {"loss": _loss(options.loss or "squared")}
    chosen |= {"X": data.X, "Y": data.Y, "weight_decay": options.weight_decay, "sample_weight": data.weight}
    if options.reduction is None:
        return cr.TrainingProblem(**chosen)
    return cr.TrainingProblem.from_torch(reduction=options.reduction, **chosen)


def _info(options: argparse.Namespace) -> int:
    from threadpoolctl import threadpool_info

    from convexrelu.backends.capabilities import SPECS

    import scipy.linalg  # noqa: F401  # isort: skip - its BLAS is listed only once it is loaded

    _print_rows({"convexrelu": __version__, "python": platform.python_version(), "platform": platform.platform()})
    _print_rows({name: _version(name) for name in ("numpy", "scipy", "scikit-learn", "cvxpy")})
    for spec in SPECS:
        missing = f"not installed (pip install {spec.install})"
        found = _version(spec.package) if spec.package else "built in"
        _print_rows({f"backend {spec.name}": found if spec.is_installed else missing})
    for pool in threadpool_info():
        _print_rows(
            {f"threads {pool['user_api']}": f"{pool['num_threads']} ({pool['internal_api']} {pool['version']})"}
        )
    return 0


# -- gradient descent, for comparison ---------------------------------------------------------------------------------


def _compare_with_gradient_descent(problem: TrainingProblem, bound: float) -> None:
    import convexrelu as cr

    print(f"\ngradient descent on the same objective (Adam, {GD_WIDTH} neurons, {GD_STEPS} steps)")
    print("  seed     objective   above the lower bound     time")
    for seed in range(GD_SEEDS):
        start = time.perf_counter()
        W, b, v = _adam(problem.X, problem.Y[:, 0], problem.weight_decay, seed)
        elapsed = time.perf_counter() - start
        objective = problem.objective(cr.Network(hidden=W.T, hidden_bias=b, output=v[:, None]))
        print(f"  {seed:4d}  {objective:12.8f}   {objective / bound - 1:21.2e}   {elapsed:4.2f} s")


def _adam(X: Array, y: Array, lam: float, seed: int) -> tuple[Array, Array, Array]:
    """Full-batch Adam, step size falling linearly to zero, on the weight-decay objective with penalised bias."""
    rng = np.random.default_rng(seed)
    d = X.shape[1]
    Xt = np.column_stack([X, np.ones(len(X))])
    weights = rng.standard_normal((d + 2, GD_WIDTH)) / np.sqrt(GD_WIDTH)  # rows: W, b, v
    mean, square = np.zeros_like(weights), np.zeros_like(weights)
    for step in range(1, GD_STEPS + 1):
        on = np.maximum(Xt @ weights[:-1], 0.0)
        residual = on @ weights[-1] - y
        hidden = Xt.T @ ((on > 0) * np.outer(residual, weights[-1]))
        gradient = np.vstack([hidden, residual @ on]) + lam * weights
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.999 * square + 0.001 * gradient**2
        rate = 0.02 * (1.0 - step / (GD_STEPS + 1)) * np.sqrt(1.0 - 0.999**step) / (1.0 - 0.9**step)
        weights -= rate * mean / (np.sqrt(square) + 1e-12)
    return weights[:d], weights[d], weights[-1]


# -- data -------------------------------------------------------------------------------------------------------------


def _loss(text: str) -> Loss:
    """The loss of a name, or of a name and its parameter: `quantile:0.9`, `huber:0.5`."""
    from convexrelu.losses import HuberLoss, QuantileLoss, get_loss

    name, colon, parameter = text.partition(":")
    if not colon:
        return get_loss(name)
    kinds = {"quantile": QuantileLoss, "huber": HuberLoss}
    try:
        return kinds[name](float(parameter))
    except (KeyError, ValueError) as error:
        if isinstance(error, InvalidInputError):
            raise
        message = f"`--loss {text}`: only quantile and huber take a parameter, a number: `quantile:0.9`, `huber:0.5`."
        raise InvalidInputError(message) from None


def _data_of(options: argparse.Namespace, about: dict[str, Any], weight: str | None) -> Columns:
    """The columns as a network was trained on them."""
    data = read_columns(options.data, options.target, weight, about.get("features"))
    return data.scaled(about.get("scaling"))


def _problem(data: Columns, lam: float | None, loss: str | Loss, modes: dict[str, str]) -> TrainingProblem:
    import convexrelu as cr

    decay = 1.0 if lam is None else lam
    problem = cr.TrainingProblem(data.X, data.Y, decay, loss=loss, sample_weight=data.weight, **modes)
    if lam is not None:
        return problem
    # A largest useful value of zero means that the targets need no neuron: any weight decay will do.
    return problem.with_weight_decay(DEFAULT_FRACTION * problem.max_weight_decay() or 1.0)


def _check_out(out: str | None) -> None:
    """Refuse before a long solve what could not be saved after it."""
    if out is not None and not Path(out).resolve().parent.is_dir():
        raise InvalidInputError(f"`--out {out}`: its folder does not exist; create it first.")


# -- printing and parsing ---------------------------------------------------------------------------------------------


def _print_rows(rows: dict[str, object]) -> None:
    for name, value in rows.items():
        print(f"  {name:<17} {value}")


def _print_data(problem: TrainingProblem, data: Columns) -> None:
    n, d = problem.X.shape
    rows: dict[str, object] = {"samples": n, "features": d, "target": ", ".join(data.targets)}
    if data.weight_name is not None:
        rows["sample weight"] = data.weight_name
    _print_rows(rows | {"weight decay": f"{problem.weight_decay:.6g}"})


def _print_certificate(certificate: Certificate, network: Network) -> None:
    covers = "every network of every width" if certificate.scope == "global" else "networks with the listed patterns"
    _print_rows(
        {
            "objective": f"{certificate.objective:.10g}",
            "lower bound": f"{certificate.lower_bound:.10g}",
            "gap": f"{certificate.gap:.2e}",
            "scope": f"{certificate.scope} (the bound holds for {covers})",
            "neurons": network.n_neurons,
        }
    )


def _exit_code(status: Status) -> int:
    return {"FAILED": 1, "INTERRUPTED": INTERRUPTED}.get(status.name, 0)


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _modes(options: argparse.Namespace) -> dict[str, str]:
    return _given(options, "bias", "output_bias", "skip")


def _given(options: argparse.Namespace, *names: str) -> dict[str, Any]:
    """Return the options that were written, so that the defaults stay those of the library."""
    return {name: getattr(options, name) for name in names if getattr(options, name) is not None}


class _Parser(argparse.ArgumentParser):
    """Errors in one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"convexrelu: error: {message} (see `{self.prog} --help`)\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m convexrelu", description="Certified globally optimal two-layer ReLU networks.")
    parser.add_argument("--version", action="version", version=f"convexrelu {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    demo = commands.add_parser("demo", help="solve a real data set and compare with gradient descent (seconds)")
    demo.set_defaults(run=_demo)

    fit = commands.add_parser("fit", help="train a network on a CSV file and print its certificate")
    fit.set_defaults(run=_fit)
    _add_data_options(fit)
    fit.add_argument(
        "--patterns", type=_patterns, metavar="P", help="generate (default), enumerate, or how many to sample"
    )
    fit.add_argument("--backend", metavar="NAME", help="solver of the convex program (see the command info)")
    fit.add_argument("--standardize", action="store_true", help="zero mean, unit variance for every column used")
    fit.set_defaults(loss="squared")
    fit.add_argument("--out", metavar="NET.npz", help="save the network, with what `certify` needs to know")

    certify = commands.add_parser("certify", help="prove how far a saved network is from the global optimum")
    certify.set_defaults(run=_certify)
    certify.add_argument("network", metavar="NET.npz")
    _add_data_options(certify)

    verify = commands.add_parser("verify", help="tell how far a network trained elsewhere is from optimal, and why")
    verify.set_defaults(run=_verify)
    verify.add_argument(
        "model", metavar="MODEL", help=".onnx, .keras, .pt (a PyTorch state dict), or .npz of this package"
    )
    verify.add_argument("--layers", metavar="hidden=NAME,output=NAME", help="of a state dict; perhaps skip=NAME too")
    verify.add_argument("--activation", metavar="NAME", help="of a state dict, between these layers: relu")
    _add_data_options(verify)
    reductions = "PyTorch's convention: the weight decay belongs to a mean or sum (of squares without 1/2)"
    verify.add_argument("--reduction", choices=("mean", "sum"), help=f"{reductions}; output bias penalized by default")
    verify.add_argument("--out", metavar="NET.npz", help="save the best network known")

    info = commands.add_parser("info", help="versions, backends, threads")
    info.set_defaults(run=_info)
    return parser


def _add_data_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data", metavar="DATA.csv", help="numbers under a header line; every other column is a feature")
    told = "its name or number (from 0; -1 is the last); once for each of several tasks"
    parser.add_argument("--target", required=True, action="append", metavar="COL", help=told)
    parser.add_argument(
        "--sample-weight",
        metavar="COL",
        help="column of non-negative weights of the samples' losses (default: none; certify: as saved)",
    )
    parser.add_argument(
        "--loss",
        metavar="LOSS",
        help=f"{', '.join(LOSS_NAMES)}; quantile:0.9, huber:0.5 set a parameter (default: squared; certify: as saved)",
    )
    decay = f"fit: {DEFAULT_FRACTION:g} of the largest useful one; certify: as saved; verify: must be given"
    parser.add_argument("--weight-decay", type=float, metavar="LAM", help=f"default: {decay}")
    for name in ("--bias", "--output-bias", "--skip"):
        parser.add_argument(name, choices=MODES, help="parameters absent, penalized or free (see TrainingProblem)")
    parser.add_argument("--tol", type=float, help="relative gap to reach")
    parser.add_argument("--time-limit", type=float, metavar="SECONDS", help="stop after this time")


def _patterns(text: str) -> str | int:
    """Return the argument `patterns` of `solve`, which knows best which words it takes."""
    return int(text) if text.lstrip("-").isdecimal() else text


if __name__ == "__main__":
    sys.exit(main())
