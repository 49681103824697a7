"""Distillation losses: functions of `Sequences` that return one float32 value per utterance.

Precision. The student's matrix products are in bfloat16 where the device has it, whose eight significant bits take
1.003 for 1. That does for a layer, and not for a loss, which sums squares of small differences over hundreds of
features, or takes logarithms of sums over hundreds of frames. So each loss takes its inputs to float32 first, and
projects and compares with autocast switched off: a small matrix product beside those of the student.
"""
