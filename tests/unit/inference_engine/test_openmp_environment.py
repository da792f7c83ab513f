"""What the engine's child tells OpenMP."""

from inference.openmp import set_openmp


def test_threads_wait_without_spinning_long() -> None:
    """The child's OpenMP threads are as many as asked, and give their core up early."""
    environ = set_openmp({"OMP_NUM_THREADS": "64"}, 2)
    assert environ["OMP_NUM_THREADS"] == "2"
    assert int(environ["GOMP_SPINCOUNT"]) < 100_000


def test_a_users_own_choice_stays() -> None:
    """A wait policy or spin count set by the user is not overridden."""
    assert "GOMP_SPINCOUNT" not in set_openmp({"OMP_WAIT_POLICY": "active"}, 2)
    assert set_openmp({"GOMP_SPINCOUNT": "7"}, 2)["GOMP_SPINCOUNT"] == "7"
