"""Two ViTs side by side: what they are made of (`structure`), what the doctor finds in each, how they learn under the same conditions (`contest`,
`gaps`), and whether mending what only one of them has closes the gap (`repair`, `mending`); `comparing` puts it together."""
