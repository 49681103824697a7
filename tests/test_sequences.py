import torch

from trainables.sequences import Sequences, mask_of


def test_stack_pads_with_zeros_and_keeps_lengths():
    stacked = Sequences.stack([torch.ones(2, 3), torch.ones(4, 3), torch.ones(1, 3)])
    assert stacked.values.shape == (3, 4, 3)
    assert stacked.lengths.tolist() == [2, 4, 1]
    assert stacked.values.sum(dim=(1, 2)).tolist() == [6, 12, 3]
    assert stacked.values[0, 2:].eq(0).all()


def test_stack_keeps_whole_numbers():
    assert Sequences.stack([torch.tensor([1, 2]), torch.tensor([3])]).values.dtype == torch.int64


def test_mask_is_true_before_each_length():
    mask = Sequences(torch.zeros(3, 3), torch.tensor([0, 2, 3])).mask
    assert mask.tolist() == [[False, False, False], [True, True, False], [True, True, True]]
    assert mask_of(torch.tensor([1]), 4).tolist() == [[True, False, False, False]]


def test_zero_padded_clears_what_a_layer_wrote_beyond_the_length_even_nan():
    values = torch.full((2, 3, 2), 5.0)
    values[0, 1:] = torch.nan
    cleared = Sequences(values, torch.tensor([1, 3])).zero_padded()
    assert cleared.values[0].tolist() == [[5, 5], [0, 0], [0, 0]]
    assert cleared.values[1].eq(5).all()
    assert values[0, 1:].isnan().all()  # the original stays


def test_zero_padded_works_without_features():
    cleared = Sequences(torch.ones(2, 2), torch.tensor([1, 2])).zero_padded()
    assert cleared.values.tolist() == [[1, 0], [1, 1]]


def test_gradients_do_not_flow_from_the_padding():
    values = torch.ones(1, 3, requires_grad=True)
    Sequences(values, torch.tensor([2])).zero_padded().values.sum().backward()
    assert values.grad is not None
    assert values.grad.tolist() == [[1, 1, 0]]


def test_a_change_is_of_values_and_lengths():
    moved = Sequences(torch.zeros(1, 2), torch.tensor([2])).changed(lambda values: values.to("meta"))
    assert moved.values.device.type == moved.lengths.device.type == "meta"


def test_means_are_over_each_sequence_alone():
    means = Sequences(torch.tensor([[[5.0, 1.0], [7.0, 3.0]], [[8.0, 2.0], [0.0, 0.0]]]), torch.tensor([2, 1])).mean()
    assert means.tolist() == [[6, 2], [8, 2]]
    assert Sequences(torch.tensor([[5.0, 7.0], [0.0, 0.0]]), torch.tensor([2, 0])).mean().tolist() == [6, 0]
