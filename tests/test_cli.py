"""The command line: in this process where that is enough, as a subprocess where pipes and exit codes matter."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import convexrelu as cr
from convexrelu.__main__ import main

ROOT = Path(__file__).resolve().parents[1]


def field(output, name):
    """The first word printed after a name."""
    found = re.search(rf"^  {re.escape(name)} +(\S+)", output, re.MULTILINE)
    assert found, f"no {name!r} in:\n{output}"
    return found[1]


def fails(capsys, *argv):
    """Run a command that must fail with exit code 2 and one line on stderr; return that line."""
    try:
        code = main(argv)
    except SystemExit as stop:  # argparse
        code = stop.code
    out, err = capsys.readouterr()
    assert code == 2
    assert out == ""
    assert err.startswith("convexrelu: error: ") and err.count("\n") == 1
    return err


@pytest.fixture
def data(tmp_path):
    """Ten rows on a tent, its top at 4.5, with a second feature that repeats values."""
    path = tmp_path / "tent.csv"
    x = np.arange(10)
    rows = [f"{i},{i % 3},{4.5 - abs(i - 4.5)}" for i in x]
    path.write_text("\n".join(["x,group,height", *rows]) + "\n", encoding="utf-8")
    return str(path)


# -- fit and certify --------------------------------------------------------------------------------------------------


def test_fit_proves_its_network(data, capsys):
    assert main(["fit", data, "--target", "height", "--patterns", "enumerate"]) == 0
    out = capsys.readouterr().out
    assert (field(out, "samples"), field(out, "features")) == ("10", "2")
    assert float(field(out, "gap")) <= 1e-6
    assert field(out, "scope") == "global"
    assert field(out, "status") == "OPTIMAL:"


@pytest.mark.parametrize("flags", ["", "--standardize", "--bias none", "--bias free", "--output-bias free --skip free"])
def test_certify_repeats_what_fit_said(data, tmp_path, capsys, flags):
    net = str(tmp_path / "net.npz")
    assert main(["fit", data, "--target", "height", "--patterns", "enumerate", "--out", net, *flags.split()]) == 0
    fitted = capsys.readouterr().out
    assert main(["certify", net, data, "--target", "height"]) == 0
    certified = capsys.readouterr().out
    assert field(fitted, "objective") == field(certified, "objective")
    assert field(fitted, "weight decay") == field(certified, "weight decay")
    # certify may prove by another route than fit; it need not do better than its default tolerance
    assert float(field(certified, "gap")) <= 1e-3


@pytest.mark.parametrize(
    "loss", ["absolute", "huber", "huber:0.5", "quantile:0.9", "logistic", "hinge", "squared_hinge"]
)
def test_every_loss_is_fitted_and_certified(tmp_path, capsys, loss):
    path, net = tmp_path / "data.csv", str(tmp_path / "net.npz")
    path.write_text("x,y\n" + "\n".join(f"{i},{int(i in (3, 4, 5))}" for i in range(9)) + "\n", encoding="utf-8")
    assert main(["fit", str(path), "--target", "y", "--loss", loss, "--standardize", "--out", net]) == 0
    fitted = capsys.readouterr().out
    assert field(fitted, "status") == "OPTIMAL:"
    assert main(["certify", net, str(path), "--target", "y"]) == 0
    certified = capsys.readouterr().out
    assert float(field(certified, "objective")) == pytest.approx(float(field(fitted, "objective")), rel=1e-9)
    assert float(field(certified, "gap")) <= 1e-3


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        ("mse", "`loss` must be one of 'absolute', "),
        ("hinge:2", "only quantile and huber take a parameter"),
        ("quantile:high", "only quantile and huber take a parameter, a number"),
        ("quantile:2", "`quantile` must lie between 0 and 1"),
        ("logistic", "`Y` must hold the labels -1 and 1, or 0 and 1"),
    ],
)
def test_losses_that_cannot_be_used(data, capsys, loss, message):
    assert message in fails(capsys, "fit", data, "--target", "height", "--loss", loss)


def test_weight_decay_is_the_problems(data, capsys):
    assert main(["fit", data, "--target", "height", "--weight-decay", "0.5", "--patterns", "enumerate"]) == 0
    X, y = np.split(np.loadtxt(data, delimiter=",", skiprows=1), [2], axis=1)
    result = cr.solve(cr.TrainingProblem(X, y, weight_decay=0.5), patterns="enumerate")
    assert float(field(capsys.readouterr().out, "objective")) == pytest.approx(result.objective, rel=1e-9)


def test_weight_decay_of_certify_can_be_chosen(data, tmp_path, capsys):
    net = str(tmp_path / "net.npz")
    main(["fit", data, "--target", "height", "--weight-decay", "0.5", "--patterns", "enumerate", "--out", net])
    capsys.readouterr()
    assert main(["certify", net, data, "--target", "height", "--weight-decay", "5"]) == 0
    out = capsys.readouterr().out
    assert field(out, "weight decay") == "5"
    assert float(field(out, "gap")) > 0.01  # optimal for 0.5, hence not for 5


def test_certify_finds_the_features_by_name(data, tmp_path, capsys):
    net = str(tmp_path / "net.npz")
    main(["fit", data, "--target", "height", "--patterns", "enumerate", "--out", net])
    before = field(capsys.readouterr().out, "objective")
    values = np.loadtxt(data, delimiter=",", skiprows=1)
    shuffled = tmp_path / "shuffled.csv"
    rows = np.column_stack([values[:, [2, 1]], np.zeros(10), values[:, 0]])
    np.savetxt(shuffled, rows, delimiter=",", header="height,group,extra,x", comments="", fmt="%.17g")
    assert main(["certify", net, str(shuffled), "--target", "height"]) == 0
    assert field(capsys.readouterr().out, "objective") == before


def test_certify_needs_a_weight_decay(data, tmp_path, capsys):
    net = tmp_path / "net.npz"
    cr.Network(hidden=[[1.0, 0.0]], hidden_bias=[0.0], output=[[1.0]]).save(net)
    assert "--weight-decay" in fails(capsys, "certify", str(net), data, "--target", "height")
    assert main(["certify", str(net), data, "--target", "height", "--weight-decay", "1"]) == 0


def test_saved_network_is_the_one_that_was_certified(data, tmp_path, capsys):
    path = tmp_path / "net.npz"
    assert main(["fit", data, "--target", "height", "--out", str(path), "--patterns", "enumerate"]) == 0
    network = cr.Network.load(path)
    X, y = np.split(np.loadtxt(data, delimiter=",", skiprows=1), [2], axis=1)
    problem = cr.TrainingProblem(X, y, weight_decay=network.metadata["weight_decay"])
    # printed with ten digits
    assert problem.objective(network) == pytest.approx(float(field(capsys.readouterr().out, "objective")), rel=1e-9)


@pytest.mark.parametrize("target", ["height", "2", "-1"])
def test_target_by_name_or_number(data, capsys, target):
    assert main(["fit", data, "--target", target, "--patterns", "enumerate"]) == 0
    assert field(capsys.readouterr().out, "target") == "height"


def test_spreadsheet_files_are_read(tmp_path, capsys):
    path = tmp_path / "export.csv"
    path.write_bytes('\ufeff"x, in m",y\r\n0,0\r\n\r\n 1 ,"1"\r\n2,0\r\n'.encode())
    assert main(["fit", str(path), "--target", "y", "--patterns", "enumerate"]) == 0
    assert field(capsys.readouterr().out, "samples") == "3"


def test_target_without_signal_is_fitted_by_the_empty_network(tmp_path, capsys):
    path = tmp_path / "zero.csv"
    path.write_text("x,y\n0,0\n1,0\n", encoding="utf-8")
    assert main(["fit", str(path), "--target", "y"]) == 0
    assert field(capsys.readouterr().out, "neurons") == "0"


# -- verify -----------------------------------------------------------------------------------------------------------


def test_verify_tells_optimal_from_better_known(data, tmp_path, capsys):
    net, onnx, out = (str(tmp_path / name) for name in ("net.npz", "net.onnx", "better.npz"))
    main(["fit", data, "--target", "height", "--weight-decay", "0.5", "--out", net])
    cr.Network.load(net).to_onnx(onnx)
    capsys.readouterr()
    for model in (net, onnx):
        assert main(["verify", model, data, "--target", "height", "--weight-decay", "0.5"]) == 0
        assert capsys.readouterr().out.startswith("Globally optimal.")
    assert main(["verify", onnx, data, "--target", "height", "--weight-decay", "5", "--out", out]) == 0
    assert capsys.readouterr().out.startswith("Trained on a different objective.")
    assert main(["verify", out, data, "--target", "height", "--weight-decay", "5"]) == 0
    assert capsys.readouterr().out.startswith("Globally optimal.")


def test_verify_knows_the_convention_of_torch(data, tmp_path, capsys):
    X, y = np.split(np.loadtxt(data, delimiter=",", skiprows=1), [2], axis=1)
    path = str(tmp_path / "net.onnx")
    problem = cr.TrainingProblem.from_torch(X, y, 0.1, reduction="mean")
    cr.solve(problem).network.to_onnx(path)
    arguments = ["verify", path, data, "--target", "height", "--weight-decay", "0.1"]
    assert main([*arguments, "--reduction", "mean", "--loss", "squared"]) == 0
    report = capsys.readouterr().out
    assert report.startswith("Globally optimal.")
    assert f"0.1 with reduction 'mean', is {problem.weight_decay:.6g}" in report


@pytest.mark.parametrize("loss", ["squared", "softmax", "huber:0.5", "hinge"])
def test_verify_takes_several_targets_classes_and_any_loss(loss, tmp_path, capsys):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((15, 2))
    Y = {
        "squared": np.column_stack([np.abs(X[:, 0]), X[:, 1] ** 2]),
        "softmax": np.arange(15.0)[:, None] % 3,
        "huber:0.5": np.abs(X[:, :1]),
        "hinge": np.sign(X[:, :1] * X[:, 1:]),
    }[loss]
    names, path, net = ["u", "v"][: Y.shape[1]], str(tmp_path / "data.csv"), str(tmp_path / "net.npz")
    np.savetxt(path, np.hstack([X, Y]), delimiter=",", header=",".join(["a", "b", *names]), comments="")
    kind = cr.losses.HuberLoss(0.5) if loss == "huber:0.5" else loss
    problem = cr.TrainingProblem.from_torch(X, Y, 0.05, loss=kind, reduction="mean")
    cr.solve(problem, tol=1e-4).network.save(net)
    targets = [part for name in names for part in ("--target", name)]
    arguments = [net, path, *targets, "--weight-decay", "0.05", "--reduction", "mean", "--loss", loss]
    assert main(["verify", *arguments]) == 0
    assert capsys.readouterr().out.startswith("Globally optimal.")


@pytest.fixture
def weighted(tmp_path):
    """Five samples, the weights of their losses in the middle column."""
    path = tmp_path / "weighted.csv"
    path.write_text("x,trust,y\n0,1,0\n1,0.5,1\n2,2,0\n3,0,9\n4,1,1\n", encoding="utf-8")
    return str(path)


def test_sample_weights_are_a_column(weighted, tmp_path, capsys):
    net = str(tmp_path / "net.npz")
    options = ["--target", "y", "--sample-weight", "trust", "--weight-decay", "0.1"]
    assert main(["fit", weighted, *options, "--out", net]) == 0
    out = capsys.readouterr().out
    assert (field(out, "features"), field(out, "sample weight")) == ("1", "trust")
    problem = cr.TrainingProblem([[0], [1], [2], [3], [4]], [0, 1, 0, 9, 1], 0.1, sample_weight=[1, 0.5, 2, 0, 1])
    assert float(field(out, "objective")) == pytest.approx(cr.solve(problem).objective, rel=1e-6)
    # The network knows its weights; another column states another objective.
    assert main(["certify", net, weighted, "--target", "y"]) == 0
    certified = capsys.readouterr().out
    assert (field(certified, "objective"), field(certified, "sample weight")) == (field(out, "objective"), "trust")
    assert float(field(certified, "gap")) <= 1e-3
    assert main(["certify", net, weighted, "--target", "y", "--sample-weight", "x"]) == 0
    assert float(field(capsys.readouterr().out, "gap")) > 0.1
    assert main(["verify", net, weighted, *options]) == 0
    assert capsys.readouterr().out.startswith("Globally optimal.")


def test_sample_weights_that_cannot_be_used(weighted, data, capsys):
    fit = ("fit", weighted, "--target", "y", "--sample-weight")
    assert "is the target 'y'" in fails(capsys, *fit, "-1")
    assert "no column 'w'" in fails(capsys, *fit, "w")
    assert "leave some features" in fails(capsys, *fit, "trust", "--target", "x")
    Path(weighted).write_text("x,trust,y\n0,-1,0\n1,2,1\n", encoding="utf-8")
    assert "`sample_weight` must be non-negative" in fails(capsys, *fit, "trust")


def test_some_features_must_be_left(data, capsys):
    assert "leave some features" in fails(capsys, "fit", data, "--target", "0", "--target", "1", "--target", "2")


def test_verify_says_what_it_needs(data, tmp_path, capsys):
    path = tmp_path / "net.npz"
    cr.Network(hidden=[[1.0, 0.0]], hidden_bias=[0.0], output=[[1.0]]).save(path)
    assert "--weight-decay" in fails(capsys, "verify", str(path), data, "--target", "height")
    rest = ("--target", "height", "--weight-decay", "1")
    assert "reading a pickle runs the code in it" in fails(capsys, "verify", "model.pkl", data, *rest)
    assert "none of .npz" in fails(capsys, "verify", "model.txt", data, *rest)
    assert "describe a state dict" in fails(capsys, "verify", "net.onnx", data, *rest, "--activation", "relu")
    assert "hidden=0,output=2" in fails(capsys, "verify", "net.pt", data, *rest, "--layers", "0,2")
    assert "No such file" in fails(capsys, "verify", str(tmp_path / "missing.onnx"), data, *rest)
    assert "'nonsense'" in fails(capsys, "verify", str(path), data, *rest, "--loss", "nonsense")


# -- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "0 non-empty lines"),
        ("x,y\n", "1 non-empty lines"),
        ("x,y\n1,2\n3,four\n", "row 3, column 'y': 'four' is not a finite number"),
        ("x,y\n1,\n", "row 2, column 'y': '' is not"),
        ("x,y\nnan,1\n", "row 2, column 'x': 'nan' is not"),
        ("x,y\n1,inf\n", "'inf' is not"),
        ("x,y\n1,2\n1\n", "row 3: 1 cells where the header has 2"),
        ("x,x\n1,2\n", "two columns named 'x'"),
        ("y\n1\n", "single column 'y'"),
        ("x;y\n1;2\n", "single column 'x;y'"),
        ("x,z\n1,2\n", "no column 'y'; its 2 columns are: x, z"),
        (b"x,y\n\xff\xfe,1\n", "not a CSV file in UTF-8"),
    ],
)
def test_bad_data(tmp_path, capsys, content, message):
    path = tmp_path / "bad.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert message in fails(capsys, "fit", str(path), "--target", "y")


def test_missing_files(data, tmp_path, capsys):
    missing = str(tmp_path / "missing")
    assert "missing: No such file" in fails(capsys, "fit", missing, "--target", "y")
    assert "missing: No such file" in fails(capsys, "certify", missing, data, "--target", "height")
    assert "Is a directory" in fails(capsys, "fit", str(tmp_path), "--target", "y")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--target", "5"],
        ["--target", "height", "--weight-decay", "0"],
        ["--target", "height", "--weight-decay", "-1"],
        ["--target", "height", "--weight-decay", "nan"],
        ["--target", "height", "--weight-decay", "much"],
        ["--target", "height", "--backend", "nonsense"],
        ["--target", "height", "--patterns", "some"],
        ["--target", "height", "--patterns", "0"],
        ["--target", "height", "--bias", "some"],
        ["--target", "height", "--bias", "free", "--output-bias", "none"],
        ["--target", "height", "--tol", "-1"],
        ["--target", "height", "--time-limit", "-1"],
        ["--target", "height", "--out", "no/such/folder/net.npz"],
        [],
    ],
    ids=" ".join,
)
def test_bad_arguments(data, capsys, arguments):
    fails(capsys, "fit", data, *arguments)


def test_no_command_or_an_unknown_one(capsys):
    assert "COMMAND" in fails(capsys)
    assert "nonsense" in fails(capsys, "nonsense")


def test_not_a_network(data, capsys):
    assert "not a network" in fails(capsys, "certify", data, data, "--target", "height")


def test_network_of_another_shape(data, tmp_path, capsys):
    net = tmp_path / "net.npz"
    cr.Network(hidden=np.eye(5), hidden_bias=np.zeros(5), output=np.ones((5, 1))).save(net)
    fails(capsys, "certify", str(net), data, "--target", "height", "--weight-decay", "1")


def test_features_that_the_data_lack(data, tmp_path, capsys):
    net = str(tmp_path / "net.npz")
    main(["fit", data, "--target", "height", "--patterns", "enumerate", "--out", net])
    other = tmp_path / "other.csv"
    other.write_text("x,height\n1,2\n", encoding="utf-8")
    capsys.readouterr()
    assert "no column 'group'" in fails(capsys, "certify", net, str(other), "--target", "height")


# -- info, demo, the process ------------------------------------------------------------------------------------------


def test_info_names_versions_backends_and_threads(capsys):
    assert main(["info"]) == 0
    out = capsys.readouterr().out
    assert field(out, "convexrelu") == cr.__version__
    assert field(out, "numpy") == np.__version__
    for backend in cr.available_backends():
        assert field(out, f"backend {backend}") != "not"
    assert int(field(out, "threads blas")) >= 1


def test_version_and_help(capsys):
    for flag, text in (("--version", cr.__version__), ("--help", "certify")):
        with pytest.raises(SystemExit) as stop:
            main([flag])
        assert stop.value.code == 0
        assert text in capsys.readouterr().out


def test_demo_proves_an_optimum_that_gradient_descent_does_not_beat(capsys):
    assert main(["demo"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert float(field(out, "gap")) <= 1e-6
    assert (field(out, "scope"), field(out, "status")) == ("global", "OPTIMAL")
    bound = float(field(out, "lower bound"))
    rows = re.findall(r"^ +(\d) +([\d.]+) +(\S+) +[\d.]+ s$", out, re.MULTILINE)
    assert len(rows) == 5
    for _, objective, excess in rows:
        # printed to 8 decimals; the objective is of order 100
        assert float(objective) / bound - 1 == pytest.approx(float(excess), rel=0.01, abs=1e-9)
        assert float(excess) >= 0


def command(*argv, **options):
    return subprocess.Popen([sys.executable, "-m", "convexrelu", *argv], cwd=ROOT, text=True, **options)


def test_as_a_process_nothing_but_the_error_is_printed(tmp_path):
    with command("fit", "missing.csv", "--target", "y", stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (2, "")
    assert err == "convexrelu: error: missing.csv: No such file or directory\n"


def test_reader_that_leaves_early():
    read, write = os.pipe()
    os.close(read)
    with command("info", stdout=write, stderr=subprocess.PIPE) as process:
        os.close(write)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (1, "")


def test_ctrl_c_leaves_no_traceback():
    def heed_interrupts():  # shells have what they start in the background ignore them
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with command("demo", **pipes, preexec_fn=heed_interrupts) as process:
        assert process.stdout.readline().startswith("diabetes")  # now it is in the middle of its work
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    # Python itself ends by the signal, which shells call 130 too, if an import was defining a dataclass at that moment.
    assert process.returncode in (130, -signal.SIGINT)
    assert err in ("", "convexrelu: error: interrupted\n")  # empty if the solver returned what it had
