package main

import "math/rand/v2"

// dice makes the random choices of one case, determined by seed and number.
type dice struct{ *rand.Rand }

func newDice(seed, number uint64) dice {
	return dice{rand.New(rand.NewPCG(seed, number))}
}

// chance returns true with this probability.
func (d dice) chance(probability float64) bool { return d.Float64() < probability }

// between returns a number of the range, both ends included.
func (d dice) between(low, high int) int { return low + d.IntN(high-low+1) }

func pick[T any](d dice, from ...T) T { return from[d.IntN(len(from))] }

// some returns one or more distinct elements of the list.
func some[T any](d dice, from ...T) []T {
	var chosen []T
	count := 1
	for count < len(from) && d.chance(0.4) {
		count++
	}
	for _, i := range d.Perm(len(from))[:count] {
		chosen = append(chosen, from[i])
	}
	return chosen
}

// maybe returns nil, or a pointer to an element of the list.
func maybe[T any](d dice, probability float64, from ...T) *T {
	if !d.chance(probability) {
		return nil
	}
	chosen := pick(d, from...)
	return &chosen
}
