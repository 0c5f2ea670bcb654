"""For people who write connectors: a clock to turn by hand, a stand-in for the core, and (in `sync.testing.contract`,
which needs pytest) the suite that every connector must pass.

    from sync.testing.contract import ConnectorContract, World

    class TestMine(ConnectorContract):
        @pytest.fixture
        def world(self) -> World:
            return MyWorld()
"""

from sync.testing.clock import FakeClock
from sync.testing.reader import Arrived, LogKeeper, Reader, make_context

__all__ = ["Arrived", "FakeClock", "LogKeeper", "Reader", "make_context"]
