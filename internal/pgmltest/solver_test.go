package pgmltest

import (
	"math"
	"testing"

	"pgshunt/testdata/datasets"
)

// leastSquares fits y by x with an L2 penalty alpha on the coefficients, the
// intercept left free: an independent way to the numbers that a server gives
// (QR of the stacked system by Householder reflections, where the stand-in
// solves normal equations).
func leastSquares(x [][]float64, y []float64, alpha float64) (coef []float64, intercept float64) {
	n, d := len(x), len(x[0])
	means, mean := make([]float64, d), 0.0
	for r := range x {
		for i, v := range x[r] {
			means[i] += v / float64(n)
		}
		mean += y[r] / float64(n)
	}
	rows := make([][]float64, 0, n+d) // each with its right-hand side as last element
	for r := range x {
		row := make([]float64, d+1)
		for i, v := range x[r] {
			row[i] = v - means[i]
		}
		row[d] = y[r] - mean
		rows = append(rows, row)
	}
	for i := range d {
		row := make([]float64, d+1)
		row[i] = math.Sqrt(alpha)
		rows = append(rows, row)
	}
	for k := range d {
		reflect(rows, k)
	}
	coef = make([]float64, d)
	for i := d - 1; i >= 0; i-- {
		v := rows[i][d]
		for j := i + 1; j < d; j++ {
			v -= rows[i][j] * coef[j]
		}
		coef[i] = v / rows[i][i]
	}
	intercept = mean
	for i := range coef {
		intercept -= coef[i] * means[i]
	}
	return coef, intercept
}

// reflect makes column k zero below its diagonal.
func reflect(rows [][]float64, k int) {
	norm := 0.0
	for _, row := range rows[k:] {
		norm += row[k] * row[k]
	}
	norm = math.Copysign(math.Sqrt(norm), rows[k][k])
	v := make([]float64, len(rows)-k)
	for i := range v {
		v[i] = rows[k+i][k]
	}
	v[0] += norm
	vv := 0.0
	for _, e := range v {
		vv += e * e
	}
	for c := k; c < len(rows[k]); c++ {
		dot := 0.0
		for i, e := range v {
			dot += e * rows[k+i][c]
		}
		for i, e := range v {
			rows[k+i][c] -= 2 * dot / vv * e
		}
	}
}

func answer(coef []float64, intercept float64, x []float64) float64 {
	for i, c := range coef {
		intercept += c * x[i]
	}
	return intercept
}

// The solver itself against scikit-learn 1.9.1: LinearRegression and
// Ridge(alpha=0.5) over the whole of the diabetes set.
func TestTheTestsSolverAgreesWithScikitLearn(t *testing.T) {
	data := datasets.Parse(datasets.Diabetes)
	for alpha, want := range map[float64][]float64{
		0:   {-10.00987, -239.81564, 519.84592, 324.38465, -792.17564, 476.73902, 101.04327, 177.06324, 751.27370, 67.62669, 152.13348},
		0.5: {20.13801, -131.24149, 383.48370, 244.83507, -15.18674, -58.34414, -174.84237, 121.98495, 328.49876, 110.88643, 152.13348},
	} {
		coef, intercept := leastSquares(data.X, data.Y, alpha)
		for i, got := range append(coef, intercept) {
			if math.Abs(got-want[i]) > 1e-3 {
				t.Errorf("alpha %v, coefficient %d: %v, want %v", alpha, i, got, want[i])
			}
		}
	}
}
