package flow

// ChartSQL is the query behind charts.
const ChartSQL = chartSQL
