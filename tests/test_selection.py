"""Clusters and their medoids: properties over any table, a second implementation, bounds that hold, errors, speed."""
import itertools, math, time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st

from xlt_nb.core import XltError
from xlt_nb.distances import PAPER_WEIGHTS, combined, distance_matrix, resampled_distances
from xlt_nb.languages import LANGUAGES, MINION, SMILER
from xlt_nb.selection import (LINKAGES, _best_by_bounds, _by_exchange, _from_below, choose_k, cluster_agreement,
                              cluster_graph, hierarchical, k_medoids, medoid_choices, merge_tree, silhouette)

pytestmark = pytest.mark.filterwarnings("ignore::xlt_nb.distances.ThinDataWarning")
QUICK = settings(max_examples=60, deadline=None)


def labelled(d):
    names = [f"x{n}" for n in range(len(d))]
    return pd.DataFrame(d, names, names, dtype=float)


@st.composite
def tables(draw, most=9, directed=False):
    "Any table of distances: few different values, so that ties and duplicates abound; no triangle need hold."
    n = draw(st.integers(1, most))
    values = draw(st.lists(st.sampled_from([0, 0, 0.1, 0.25, 0.5, 1, 7]), min_size=n*n, max_size=n*n))
    d = np.reshape(values, (n, n))
    if not directed: d = np.maximum(d, d.T)
    np.fill_diagonal(d, 0)
    return labelled(d)


@st.composite
def tables_and_k(draw, **how):
    table = draw(tables(**how))
    return table, draw(st.integers(1, len(table)))


def check_partition(table, c, k):
    "Every item in one cluster, no cluster empty, each medoid in its own, numbers in the order of the items."
    assert list(c.labels.index) == list(table.index) and c.labels.notna().all()
    assert sorted(c.labels.unique()) == list(range(k)) and len(set(c.medoids)) == len(c.medoids) == k
    assert [c.labels[m] for m in c.medoids] == list(range(k))
    assert list(pd.unique(c.labels)) == list(range(k))
    assert sorted(itertools.chain(*c.groups.values())) == sorted(table.index)
    assert c.cost == pytest.approx(sum(table.loc[m, g].sum() for m, g in c.groups.items()))


def least(table, k):
    "The least cost, by a loop."
    d = table.to_numpy()
    return min(d[list(m)].min(0).sum() for m in itertools.combinations(range(len(d)), k))


@QUICK
@given(tables_and_k(directed=True))
def test_medoids_are_a_partition_with_the_least_cost(given):
    table, k = given
    c = k_medoids(table, k)
    check_partition(table, c, k)
    assert c.exact and c.cost == pytest.approx(least(table, k))
    for m, g in c.groups.items(): assert (table.loc[m, g] == table.loc[list(c.medoids), g].min()).all()


@QUICK
@given(tables_and_k(), st.sampled_from(LINKAGES))
def test_merged_clusters_are_a_partition(given, linkage):
    table, k = given
    c = hierarchical(table, k, linkage)
    check_partition(table, c, k)
    assert not c.exact and c.cost >= k_medoids(table, k).cost - 1e-9
    for m, g in c.groups.items(): assert table.loc[m, g].sum() == pytest.approx(table.loc[g, g].sum(axis=1).min())
    assert merge_tree(table, linkage).shape == (len(table) - 1, 4)


@QUICK
@given(tables_and_k(most=12, directed=True))
def test_bounds_find_the_least_cost_too(given):
    table, k = given
    if len(table) < 2: return
    cost = table.to_numpy().T
    chosen, bound = _best_by_bounds(cost, k, 60)
    assert len(set(chosen)) == k and cost[:, chosen].min(1).sum() == pytest.approx(least(table, k), abs=1e-6)
    assert bound == pytest.approx(least(table, k), abs=1e-6)


@QUICK
@given(tables_and_k(most=10, directed=True))
def test_no_choice_lies_below_the_bound_and_nothing_better_is_struck_out(given):
    table, k = given
    if len(table) < 2: return
    cost, best = table.to_numpy().T, least(table, k)
    chosen, upper = _by_exchange(cost, k, math.inf)
    lower, keep = _from_below(cost, k, upper, math.inf)
    assert lower <= best + 1e-7 and best <= upper + 1e-9 and keep[chosen].all()
    assert min(cost[:, list(m)].min(1).sum() for m in itertools.combinations(np.flatnonzero(keep), k)) == pytest.approx(best)


@QUICK
@given(tables_and_k(), st.randoms())
def test_order_changes_no_cost(given, random):
    table, k = given
    order = list(table.index)
    random.shuffle(order)
    moved = table.loc[order, order]
    assert k_medoids(moved, k).cost == pytest.approx(k_medoids(table, k).cost)
    assert k_medoids(table.loc[:, order], k).labels.equals(k_medoids(table, k).labels)


@QUICK
@given(tables_and_k())
def test_silhouette_graph_and_agreement(given):
    table, k = given
    c = k_medoids(table, k)
    s, graph = silhouette(table, c), cluster_graph(c)
    assert s.isna().all() if k in (1, len(table)) else s.between(-1, 1).all()
    assert cluster_agreement(c, c) == 1
    assert graph.equals(graph.T) and not np.diag(graph).any() and set(np.unique(graph)) <= {0, 1}
    for a, b in itertools.combinations(table.index, 2):
        assert graph.loc[a, b] == (c.labels[a] == c.labels[b] or {a, b} <= set(c.medoids))
    seen, waiting = set(), [table.index[0]] # the graph holds together
    while waiting:
        seen.add(waiting.pop())
        waiting += [x for x in table.index if x not in seen and graph.loc[list(seen), x].any()]
    assert seen == set(table.index)


def test_equal_choices_the_first_counts():
    everything = labelled(1 - np.eye(6))
    for k in range(1, 7): assert k_medoids(everything, k).medoids == tuple(everything.index[:k])
    assert len(medoid_choices(everything, 3)) == 20 and (medoid_choices(everything, 3).more == 0).all()


def test_duplicates():
    table = distance_matrix("genetic", ["en", "ar", "arb", "de"])
    assert table.loc["ar", "arb"] == 0
    for k in range(1, 5):
        for c in (k_medoids(table, k), hierarchical(table, k)): check_partition(table, c, k)
    same = labelled(np.zeros((5, 5)))
    for k in range(1, 6):
        for c in (k_medoids(same, k), hierarchical(same, k)):
            check_partition(same, c, k)
            assert c.cost == 0
    both = k_medoids(labelled(np.kron(1 - np.eye(3), np.ones((2, 2)))), 3)
    assert list(both.groups.values()) == [["x0", "x1"], ["x2", "x3"], ["x4", "x5"]]


def test_a_directed_distance_counts_from_the_medoid():
    table = labelled([[0, 1, 1], [9, 0, 9], [9, 9, 0]])
    assert k_medoids(table, 1).medoids == ("x0",) and k_medoids(table.T, 1).cost == 10
    for f in (hierarchical, lambda t, k: choose_k(t), lambda t, k: silhouette(t, k_medoids(t, k))):
        with pytest.raises(XltError, match=r"x0 → x1 is 1, but x1 → x0 9; take \(d \+ d.T\)/2"): f(table, 2)


def holed():
    table = labelled(1 - np.eye(3))
    table.loc["x0", "x2"] = np.nan
    return table


WRONG = [(holed(), "x0 → x2 has no value"), (labelled(np.full((2, 2), np.nan)), "x0 → x0 has no value"), (labelled([[0, np.inf], [1, 0]]), "x0 → x1 has no value"),
         (labelled([[0, -1], [1, 0]]), "x0 → x1 is -1"), (labelled([[0, 1], [1, 2]]), "x1 → x1 is 2"), (labelled(np.zeros((0, 0))), "labelled square table"),
         (np.zeros((2, 2)), "not ndarray"), (labelled(np.zeros((2, 2))).iloc[:1], "'x1' is a row or a column alone"),
         (pd.DataFrame(np.zeros((2, 2)), ["a", "a"], ["a", "a"]), "'a' stands there twice"), (pd.DataFrame([["far"]], ["a"], ["a"]), "not all are numbers")]


@pytest.mark.parametrize("table, said", WRONG)
def test_wrong_tables_are_named(table, said):
    for f in (k_medoids, hierarchical, medoid_choices):
        with pytest.raises(XltError, match=said): f(table, 1)


@pytest.mark.parametrize("k", [0, -1, 4, 1.0, True, "2", None])
def test_wrong_k(k):
    for f in (k_medoids, hierarchical, medoid_choices):
        with pytest.raises(XltError, match=f"k: {k!r} is not a whole number from 1 to 3"): f(labelled(1 - np.eye(3)), k)


def test_other_items_are_named():
    a, b = labelled(1 - np.eye(3)), labelled(1 - np.eye(4))
    with pytest.raises(XltError, match="'x3' is an item of one clustering alone"): cluster_agreement(k_medoids(a, 2), k_medoids(b, 2))
    with pytest.raises(XltError, match="'x3' is an item of one clustering alone"): silhouette(b, k_medoids(a, 2))
    with pytest.raises(XltError, match="nearest: average"): hierarchical(a, 2, "averag")


def test_the_paper():
    minion = k_medoids(combined(MINION), 2)
    assert minion.groups == {"pt": ["en", "es", "pt", "pl"], "tr": ["hi", "tr", "ko", "ja"]} and minion.exact
    smiler = set(k_medoids(combined(SMILER), 3).medoids)
    assert smiler != {"it", "nl", "fa"} and "nl" in smiler # reproduced in part only


def test_too_little_time_is_admitted():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(90, 8))
    table = labelled(np.linalg.norm(x[:, None] - x, axis=-1))
    hurried, proven = k_medoids(table, 12, seconds=0), k_medoids(table, 12)
    check_partition(table, hurried, 12)
    assert not hurried.exact and hurried.bound <= proven.cost <= hurried.cost + 1e-9
    assert proven.exact


def test_choose_k():
    table = combined(MINION)
    drawn = resampled_distances(PAPER_WEIGHTS, MINION, "published", draws=20)
    chosen = choose_k(table, resampled=drawn)
    assert list(chosen.index) == list(range(2, 8)) and chosen.cost.is_monotonic_decreasing
    assert chosen[["stability", "same_clusters", "same_medoids"]].le(1).all(axis=None)
    assert (chosen.same_clusters < 1).all() and (choose_k(table, resampled=[table]*3).stability == 1).all()
    by_tree = choose_k(table, [2, 3], drawn, hierarchical)
    assert (by_tree.cost >= chosen.cost.loc[2:3]).all()
    blocks = labelled(np.kron(1 - np.eye(3), np.ones((3, 3))) + 0.1*(1 - np.eye(9))*np.kron(np.eye(3), np.ones((3, 3))))
    assert choose_k(blocks).silhouette.idxmax() == 3


def test_draws_of_features():
    drawn = resampled_distances({"syntactic": 1, "genetic": 2}, ["ar", "ara", "en", "ja"], draws=30)
    for t in drawn:
        assert t.loc["ar", "ara"] == 0 and np.allclose(t, t.T) and (np.diag(t) == 0).all()
    part = distance_matrix("genetic", ["en", "ja"]).loc["en", "ja"]
    alone = resampled_distances("syntactic", ["ar", "ara", "en", "ja"], draws=30)
    assert np.allclose([t.loc["en", "ja"] - 2*part for t in drawn], [t.loc["en", "ja"] for t in alone])
    assert all(a.equals(b) for a, b in zip(alone, resampled_distances("syntactic", ["ar", "ara", "en", "ja"], draws=30)))
    holes = resampled_distances("phonological", ["it", "nl", "en"], "shared", draws=3)
    assert all(t.isna().equals(distance_matrix("phonological", ["it", "nl", "en"], "shared").isna()) for t in holes)
    with pytest.raises(XltError, match="rests on no features"): resampled_distances("geographic", MINION)


def test_all_numbers_of_clusters_of_seventeen_languages_in_well_under_a_second():
    table = combined(LANGUAGES)
    start = time.process_time()
    for k in range(1, 18): assert k_medoids(table, k).exact
    assert time.process_time() - start < 1
