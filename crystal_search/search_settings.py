"""What an evolutionary search does, and the random search that it is compared with."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from crystal_search.errors import SearchError
from crystal_search.operators import OPERATORS
from crystal_search.population import SEED
from crystal_search.preselection import SMALLEST_POOL
from crystal_search.relaxation import RelaxationSettings

DEFAULT_WEIGHTS: dict[str, float] = {
    SEED: 0.5,
    "heredity": 0.07,
    "rattle": 0.11,
    "strain": 0.035,
    "soft_mutation": 0.18,  # symmetric seeds end on saddle points, which it leaves downhill
    "permutation": 0.07,
    "symmetrise": 0.035,
}
AS_IONS = (SEED, "heredity", "permutation")  # what puts atoms where they do not fit together
OPTIMISE = "optimise"
EVOLUTIONARY, RANDOM = "evolutionary", "random"  # arms of a comparison


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """What a search does. Two searches with the same settings and content give the same candidates.

    ``weights``: shares of the operators of `crystal_search.operators` and of fresh seeds ("seed").
    ``as_ions_first``: seeds and children that the pair model of `crystal_search.ionic` relaxes before the
    potential sees them: they end lower and take a third fewer evaluations.
    ``pool_size``: random crystals that the pair model relaxes and ranks at a time, of which
    `crystal_search.preselection` gives up to a fifth as seeds, at first and where nothing is
    learned; 0 takes each random crystal as it comes, and so does a content without ions (an alloy).
    ``learn``: after the first generation a potential learned from the energy evaluations so far relaxes
    ``offspring`` crystals, fresh and by operators, and the lowest new ones become the children
    (`crystal_search.offspring`). Without it, with another protocol and with more than five elements the
    operators and pools make the children directly.
    """

    population_size: int = 6
    first_generation: int = 10  # seeds
    children: int = 8  # per generation
    pool_size: int = 120  # random crystals ranked before some of them are seeds; 0: no choice
    learn: bool = True  # a potential from the search's own evaluations, which chooses the children
    offspring: int = 100  # per generation, relaxed by the learned potential
    max_generations: int = 30
    max_evaluations: int = 100_000  # energy evaluations after which no new generation begins
    symmetric_share: float = 0.5  # of the seeds; of those chosen among crystals with polyanions 0.9
    as_ions_first: tuple[str, ...] = AS_IONS
    weights: Mapping[str, float] = field(default_factory=lambda: dict(DEFAULT_WEIGHTS))
    adaptive: bool = True  # operators that succeed are used more
    learn_volume: bool = True  # seeds of later pools take the volume of the best structures
    give_up: bool = True  # hopeless and repeated candidates are not relaxed to the end
    patience: int = 4  # generations without a better enthalpy before the search stops
    tolerance_ev_atom: float = 0.001  # what counts as better
    protocol: str = OPTIMISE  # or the name of another way, which `search` is handed as ``relaxer``
    potential: str = "chgnet"
    potential_options: Mapping[str, object] = field(default_factory=dict)
    relaxation: RelaxationSettings = field(default_factory=RelaxationSettings)
    oxidation_states: Mapping[str, float] | None = None  # of each element; None: guessed; none: no ions
    seed: int = 0

    @property
    def states(self) -> dict[str, float]:
        """Return the oxidation states by element, empty for a cell without ions."""
        return dict(self.oxidation_states or {})

    @property
    def learns(self) -> bool:
        """Return whether children are chosen by a learned potential; it needs the relaxations' snapshots."""
        return self.learn and self.protocol == OPTIMISE


def random_search(settings: SearchSettings) -> SearchSettings:
    """Return the settings of the control: random crystals and relaxations alike, and nothing is learned.

    No operators, no choice among the random crystals, no learned potential, no volume taken from earlier
    structures, no candidate given up.
    """
    alone = {"weights": {SEED: 1.0}, "pool_size": 0, "learn": False}
    return replace(settings, learn_volume=False, give_up=False, **alone)


def check_settings(settings: SearchSettings) -> None:
    """Raise `SearchError` for settings that make no search."""
    named = (*settings.weights, *settings.as_ions_first)
    unknown = [n for n in named if n not in (*OPERATORS, SEED)]
    counts = (settings.population_size, settings.first_generation, settings.children, settings.patience)
    weights, pool, share = settings.weights.values(), settings.pool_size, settings.symmetric_share
    faults = {
        f"there is no operator {unknown[:1]}: expected {SEED}, {', '.join(OPERATORS)}": unknown,
        f"weights {dict(settings.weights)}: expected none below 0 and one above": (
            not any(w > 0 for w in weights) or min(weights) < 0
        ),
        f"pool_size {pool} without '{SEED}' in as_ions_first: expected pool_size 0, as the pair model ranks "
        "only what it has relaxed": pool and SEED not in settings.as_ions_first,
        f"pool_size {pool}: expected 0 (no choice) or at least {SMALLEST_POOL}": 0 < pool < SMALLEST_POOL,
        f"offspring {settings.offspring}: expected at least as many as children, {settings.children}": (
            settings.learns and settings.offspring < settings.children
        ),
        "expected population_size, first_generation, children and patience of at least 1 and symmetric_share "
        f"from 0 to 1, found {counts} and {share}": min(counts) < 1 or not 0 <= share <= 1,
    }
    for text, found in faults.items():
        if found:
            raise SearchError(text)
