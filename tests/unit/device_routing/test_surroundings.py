"""The state of the hardware as ``/sys`` tells it, and as it fails to."""

from pathlib import Path

import pytest

from device_agent.surroundings import LinuxSurroundings
from router import DeviceState


@pytest.fixture
def sys_tree(tmp_path: Path):
    """Writes files below ``class``: path to text."""

    def write(**files: str) -> Path:
        for name, text in files.items():
            path = tmp_path / "class" / name.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    return write


LAPTOP = {
    "power_supply__BAT0__type": "Battery\n",
    "power_supply__BAT0__capacity": "42\n",
    "power_supply__BAT0__status": "Discharging\n",
    "power_supply__AC__type": "Mains\n",
    "power_supply__AC__online": "0\n",
    "thermal__thermal_zone0__temp": "85000\n",
    "thermal__thermal_zone0__trip_point_0_type": "passive\n",
    "thermal__thermal_zone0__trip_point_0_temp": "95000\n",
    "net__lo__operstate": "unknown\n",
    "net__wlan0__operstate": "up\n",
}


def test_a_laptop_on_its_battery(sys_tree) -> None:
    """Charge, draining, half of the way from warm to its trip point, online."""
    state = LinuxSurroundings(sys_tree(**LAPTOP)).state()
    assert state == DeviceState(battery=0.42, charging=False, heat=0.5, online=True)
    assert state.scarcity == pytest.approx(0.58)


def test_on_mains_nothing_is_scarce(sys_tree) -> None:
    """Plugged in, also while the battery says that it drains; a cool device has no heat."""
    root = sys_tree(
        **LAPTOP | {"power_supply__AC__online": "1", "thermal__thermal_zone0__temp": "40000"}
    )
    state = LinuxSurroundings(root).state()
    assert (state.charging, state.heat, state.scarcity) == (True, 0.0, 0.0)


def test_a_mouse_has_a_battery_that_is_not_the_device_s(sys_tree) -> None:
    """Supplies of peripherals are left out."""
    root = sys_tree(
        power_supply__hid__type="Battery",
        power_supply__hid__scope="Device",
        power_supply__hid__capacity="3",
    )
    assert LinuxSurroundings(root).state().battery is None


@pytest.mark.parametrize(
    ("states", "online"),
    [
        ({"eth0": "down", "wlan0": "dormant"}, False),
        ({"eth0": "down", "tun0": "unknown"}, True),
        ({}, None),
    ],
)
def test_offline_is_said_only_where_every_interface_is_down(sys_tree, states, online) -> None:
    """Not where there is none, and not where the cluster needs no network."""
    root = sys_tree(
        net__lo__operstate="unknown",
        **{f"net__{name}__operstate": state for name, state in states.items()},
    )
    assert LinuxSurroundings(root).state().online is online
    assert LinuxSurroundings(root, cloud_is_here=True).state().online is None


@pytest.mark.parametrize(
    "broken",
    [
        {"power_supply__BAT0__capacity": "n/a"},
        {"power_supply__BAT0__capacity": "9" * 5000},
        {"thermal__thermal_zone0__temp": "\xff\xfe"},
        {"thermal__thermal_zone0__trip_point_0_temp": "-274000"},
    ],
)
def test_what_cannot_be_read_is_not_known(sys_tree, broken) -> None:
    """Words, endless files, impossible values: never an error, never out of range."""
    state = LinuxSurroundings(sys_tree(**LAPTOP | broken)).state()
    assert state.battery in (None, 0.42, 1.0)
    assert state.heat in (None, 0.5)


def test_no_sys_at_all(tmp_path) -> None:
    """On other systems nothing is known."""
    assert LinuxSurroundings(tmp_path / "none").state() == DeviceState()


def test_a_look_is_remembered_for_some_seconds(sys_tree) -> None:
    """And a clock that jumps back makes it look again."""
    root, now = sys_tree(**LAPTOP), [100.0]
    surroundings = LinuxSurroundings(root, clock=lambda: now[0])
    assert surroundings.state().battery == 0.42
    (root / "class/power_supply/BAT0/capacity").write_text("10")
    assert surroundings.state().battery == 0.42
    now[0] = 99.0
    assert surroundings.state().battery == 0.10


@pytest.mark.parametrize("wrong", [{"battery": 1.1}, {"heat": -0.1}])
def test_an_app_s_state_out_of_range_is_refused(wrong) -> None:
    """Nothing is clamped."""
    with pytest.raises(ValueError, match="between 0 and 1"):
        DeviceState(**wrong)
