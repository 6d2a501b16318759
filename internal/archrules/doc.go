// Package archrules has no code: its test keeps who may import whom, the plan of the house.
package archrules
